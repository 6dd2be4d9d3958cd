"""Ending training that no longer gets better."""

import lightning
import pytest
import torch

from jointkd.errors import ConfigError
from jointkd.training.callbacks.early_stopping import StopWithoutProgress
from jointkd.training.module import MONITOR
from tests.configurations import composed


def stopped_after(callback: StopWithoutProgress, errors: list[float]) -> int | None:
    """The number of validations after which training is to stop, None if it is not."""
    trainer = lightning.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False)
    for number, error in enumerate(errors, 1):
        trainer.fit_loop.epoch_loop._batches_that_stepped = number
        trainer._logger_connector._callback_metrics[MONITOR] = torch.tensor(error)
        callback._run_early_stopping_check(trainer)
        if trainer.should_stop:
            return number
    return None


@pytest.fixture(autouse=True)
def _metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    connector = "lightning.pytorch.trainer.connectors.logger_connector.logger_connector._LoggerConnector"
    monkeypatch.setattr(f"{connector}.callback_metrics", property(lambda self: self._callback_metrics))


def test_training_ends_after_so_many_validations_without_a_smaller_error():
    assert stopped_after(StopWithoutProgress(patience=2), [5, 4, 3.9, 4, 4, 1]) == 5
    assert stopped_after(StopWithoutProgress(patience=2, min_delta=0.5), [5, 4, 3.9, 4, 1]) == 4


def test_without_patience_training_never_ends_early():
    assert stopped_after(StopWithoutProgress(), [1.0] * 50) is None


def test_a_run_that_goes_on_has_the_patience_of_its_configuration_and_the_errors_so_far():
    before, after = StopWithoutProgress(patience=2), StopWithoutProgress(patience=4)
    assert stopped_after(before, [1, 2]) is None
    after.load_state_dict(before.state_dict())
    assert stopped_after(after, [2, 2, 2]) == 3


def test_a_patience_that_is_no_number_of_validations_is_refused():
    with pytest.raises(ConfigError, match=r"early_stopping\.patience=0 must be a positive number of validations"):
        StopWithoutProgress(patience=0)


def test_early_stopping_and_a_limit_of_time_are_options_that_can_be_seen():
    config = composed()
    assert config.callbacks.early_stopping.patience is None
    assert config.trainer.max_time is None

"""What a run that goes on may change, and what it takes over."""

import logging
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from jointkd.errors import ConfigError, DataError
from jointkd.training.module import DistillationModule
from jointkd.training.resume import Origin, RunRecord, differences

BEGAN = {
    "method": {"name": "none"},
    "student": {"width": 8, "_target_": "jointkd.students.painn.PaiNN"},
    "optimizer": {"lr": 0.004},
    "trainer": {"max_epochs": 4, "devices": 1},
    "schedulers": {"cosine": {"T_max": 4}},
    "callbacks": {"ema": 0.99, "early_stopping": None},
    "data": {"path": "here/mine.xyz", "seed": 0},
    "ckpt_path": None,
}


def changed(**options: object) -> str:
    """The configuration with other values, by names with __ for dots."""
    config = yaml.safe_load(yaml.safe_dump(BEGAN))
    for name, value in options.items():
        group, _, option = name.partition("__")
        if option:
            config[group][option] = value
        else:
            config[group] = value
    return yaml.safe_dump(config)


def origin(**record: object) -> Origin:
    return Origin(Path("run/checkpoints/last.ckpt"), 3, RunRecord(changed(), {"train": "a", "val": "b"}, **record))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("student__width", 16),
        ("student___target_", "mine.Student"),
        ("optimizer__lr", 0.001),
        ("optimizer__maximize", True),
        ("method__name", "joint"),
        ("callbacks__ema", 0.9),
        ("callbacks__halving", True),
        ("data__seed", 1),
    ],
)
def test_an_option_that_changes_what_is_trained_is_refused_and_named(option, value):
    name = option.replace("__", ".", 1)
    with pytest.raises(ConfigError, match=rf"cannot go on with other options: {name}={value} \(before: "):
        origin().check_options(changed(**{option: value}), 4)


def test_more_epochs_and_other_devices_are_named_and_go_on():
    now = changed(trainer={"max_epochs": 8, "devices": 2}, schedulers__cosine={"T_max": 8}, callbacks__early_stopping=5)
    assert origin().check_options(now, 8) == [
        "callbacks.early_stopping=5 (before: null)",
        "schedulers.cosine.T_max=8 (before: 4)",
        "trainer.devices=2 (before: 1)",
        "trainer.max_epochs=8 (before: 4)",
    ]


def test_the_same_options_from_another_folder_go_on_without_a_word():
    assert origin().check_options(changed(data__path="there/mine.xyz", ckpt_path="last"), 4) == []


def test_fewer_epochs_than_there_were_are_refused():
    with pytest.raises(ConfigError, match=r"trainer.max_epochs=3, but .* is of epoch 4"):
        origin().check_options(changed(trainer__max_epochs=3), 3)


def test_options_that_another_version_did_not_have_are_not_compared():
    record = RunRecord(changed(), {}, version="0.0.1")
    assert differences(record, changed(overwrite=False, student__new=1)) == {}


def test_other_structures_are_refused():
    origin().check_data({"train": "a", "val": "b"})
    with pytest.raises(DataError, match="the structures of val are not those with which the run of"):
        origin().check_data({"train": "a", "val": "c"})


def test_a_checkpoint_without_a_record_goes_on_with_a_warning(tmp_path, caplog):
    torch.save({"epoch": 0, "state_dict": {}}, tmp_path / "last.ckpt")
    with caplog.at_level(logging.WARNING):
        assert Origin.of(tmp_path / "last.ckpt").check_options(changed(), 4) == []
    assert "they are not compared" in caplog.text


class Trained:
    """A module with a cosine schedule, as Lightning restores it."""

    def __init__(self, epochs: int) -> None:
        schedule = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=epochs)
        student = torch.nn.Linear(1, 1)
        self.module = DistillationModule(student, {}, partial(torch.optim.SGD, lr=1.0), schedule)
        made = self.module.configure_optimizers()
        self.optimizer, self.scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
        self.module.lr_schedulers = lambda: self.scheduler  # type: ignore[method-assign]

    def restore(self, checkpoint: dict) -> None:
        self.module.on_load_checkpoint(checkpoint)
        self.scheduler.load_state_dict(checkpoint["lr_schedulers"][0])
        self.optimizer.load_state_dict(checkpoint["optimizer_states"][0])
        self.module.on_train_start()

    def rates(self, steps: int) -> list[float]:
        rates = []
        for _ in range(steps):
            self.optimizer.step()
            self.scheduler.step()
            rates.append(self.optimizer.param_groups[0]["lr"])
        return rates


@pytest.mark.parametrize("epochs", [4, 8])
def test_the_learning_rate_follows_the_epochs_of_a_run_that_goes_on(epochs):
    before, after, whole = Trained(4), Trained(epochs), Trained(epochs)
    before.rates(3)
    states = {"lr_schedulers": [before.scheduler.state_dict()], "optimizer_states": [before.optimizer.state_dict()]}
    after.restore(states)
    assert after.rates(epochs - 3) == pytest.approx(whole.rates(epochs)[3:])
    assert after.scheduler.T_max == epochs

"""What training does when it has ended."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from jointkd.commands.train import load_best, why_not_validated
from jointkd.training.checkpoint_files import WholeCheckpoints
from tests.toy import toy_module


def ended(best: str = "", **options: Any) -> Any:
    values = {"check_val_every_n_epoch": 1, "max_epochs": 3, "limit_val_batches": 1.0, "global_step": 7}
    return SimpleNamespace(checkpoint_callback=SimpleNamespace(best_model_path=best), **{**values, **options})


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"limit_val_batches": 0, "check_val_every_n_epoch": 5}, "trainer.limit_val_batches=0"),
        (
            {"check_val_every_n_epoch": 5},
            "trainer.check_val_every_n_epoch=5 is larger than trainer.max_epochs=3",
        ),
        ({"check_val_every_n_epoch": None}, "training ended after step 7, before the first validation"),
        ({"max_epochs": -1}, "training ended after step 7, before the first validation"),
    ],
)
def test_the_reason_why_there_was_no_validation_is_the_true_one(options, reason):
    assert why_not_validated(ended(**options)) == reason


def test_a_damaged_best_checkpoint_does_not_lose_a_training_that_has_ended(tmp_path, caplog):
    module, best = toy_module(), tmp_path / "best.ckpt"
    weights = {name: torch.zeros_like(weight) for name, weight in module.state_dict().items()}
    WholeCheckpoints().save_checkpoint({"epoch": 0, "state_dict": weights}, best)
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    content = best.read_bytes()
    best.write_bytes(content[:-100])
    with caplog.at_level(logging.WARNING):
        load_best(ended(str(best)), module)
    assert "the last weights are tested instead of the best ones" in caplog.text
    assert all(torch.equal(weight, before[name]) for name, weight in module.state_dict().items())
    best.write_bytes(content)
    load_best(ended(str(best)), module)
    assert not any(weight.any() for weight in module.state_dict().values())

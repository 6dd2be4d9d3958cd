"""What training does when it has ended."""

import copy
import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from jointkd.api import evaluate
from jointkd.commands.train import load_best, prepare_student, why_not_validated
from jointkd.students.gemnet import GemNet
from jointkd.students.scales import fit_scales
from jointkd.students.student_file import read_student
from jointkd.training.checkpoint_files import WholeCheckpoints, read_checkpoint
from tests.files import FREE, isolated, molecules, saved
from tests.structures import CUTOFF, ETHANOL, batch_of, rattled
from tests.toy import toy_module

OPTIONS = (
    *("data=extxyz", "data.path=mine.xyz", "data.energy_key=REF_energy", "data.forces_key=REF_forces"),
    *("teacher=none", "method=none", "student.width=8", "student.layers=1", "student.radial=4", "student.cutoff=3"),
    *("trainer.max_epochs=4", "hydra.run.dir=run"),
)


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


def test_the_best_weights_are_tested_and_saved_not_the_last(command, tmp_path):
    saved(tmp_path / "mine.xyz", [*isolated(), *molecules(20)])
    assert command("train", *OPTIONS, "optimizer.lr=0.1", "callbacks.ema.decay=0").status == 0  # which gets worse
    run = tmp_path / "run"
    best, last = (read_checkpoint(run / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    assert best["epoch"] < last["epoch"]
    student = read_student(run)
    assert all(torch.equal(weight, best["state_dict"][f"student.{name}"]) for name, weight in student.weights.items())
    assert student.reference_energies == FREE
    tested = json.loads((run / "summary.json").read_text())["test"]
    assert tested == pytest.approx(evaluate(run), rel=1e-4)
    assert tested != pytest.approx(evaluate(run, checkpoint="last"), rel=1e-2)


def test_scale_factors_are_fitted_to_the_first_eight_batches():
    batches = [batch_of(rattled(ETHANOL, seed)) for seed in range(12)]
    read = []

    def loader():
        for batch in batches:
            read.append(batch)
            yield batch

    torch.manual_seed(0)
    module = SimpleNamespace(student=GemNet(width=8, blocks=1, cutoff=CUTOFF).double())
    expected = copy.deepcopy(module.student)
    fit_scales(expected, batches[:8])
    prepare_student(module, SimpleNamespace(train_dataloader=loader), saved=None)  # type: ignore[arg-type]
    assert len(read) == 8
    assert all(map(torch.equal, module.student.buffers(), expected.buffers()))

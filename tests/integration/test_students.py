"""Every student trains from the command line, and goes on from weights of the prior art."""

import json
from pathlib import Path

import pytest
import torch

from tests.fairchem import checkpoint_of, small_student
from tests.files import isolated, molecules, saved

OPTIONS = (
    "data=extxyz",
    "data.path=mine.xyz",
    "data.energy_key=REF_energy",
    "data.forces_key=REF_forces",
    "data.reference_energies=fit",
    "trainer.max_epochs=1",
    "label.rows=2",
    "label.eval_rows=2",
    "name=run",
)


@pytest.fixture
def options(tmp_path: Path, tiny_mace: Path) -> tuple[str, ...]:
    saved(tmp_path / "mine.xyz", [*isolated(), *molecules(20)])
    return (*OPTIONS, "teacher=mace", f"teacher.checkpoint={tiny_mace}", "method=joint")


def run_of(tmp_path: Path) -> Path:
    (summary,) = (tmp_path / "outputs" / "run").rglob("summary.json")
    return summary.parent


@pytest.mark.parametrize("student", ["gemnet_dt", "gemnet_t"])
def test_gemnet_is_fitted_to_the_first_batches_trained_and_tested_again(command, tmp_path, options, student):
    done = command("train", *options, f"student={student}", "student.width=8", "student.blocks=1", "student.cutoff=3")
    assert done.status == 0, done.err
    assert "scale factors of the student" in done.out + done.err
    run = run_of(tmp_path)
    weights = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    factors = [value for name, value in weights.items() if name.endswith(".factor")]
    assert factors
    assert not any(factor == 1 for factor in factors)
    summary = json.loads((run / "summary.json").read_text())
    assert f"student {student}: {summary['parameters']} parameters" in done.out + done.err
    tested = command("evaluate", f"run={run.relative_to(tmp_path)}")
    assert tested.status == 0, tested.err
    assert f"{summary['test']['force_mae_meV_per_A']:.3f}" in tested.out + tested.err


def test_training_goes_on_from_a_checkpoint_of_the_prior_art(command, tmp_path, options):
    torch.manual_seed(5)
    student = small_student("painn", conservative=False, dtype=torch.float32)
    torch.save(checkpoint_of(student), tmp_path / "theirs.pt")
    made = command("import_checkpoint", "checkpoint=theirs.pt", "output=student.safetensors")
    assert made.status == 0, made.err
    described = {name: getattr(student, name) for name in ("cutoff", "conservative", "elements", "max_neighbors")}
    more = [f"student.{name}={'null' if value is None else value}" for name, value in described.items()]
    shape = {"width": 16, "layers": 2, "radial": student.basis.count}
    more += [f"student.{name}={value}" for name, value in shape.items()]
    done = command(
        "train", *options, "student_weights=student.safetensors", "student.smooth=false", "optimizer.lr=0", *more
    )
    assert done.status == 0, done.err
    weights = torch.load(run_of(tmp_path) / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    for name, value in student.state_dict().items():
        torch.testing.assert_close(weights[f"student.{name}"], value)

    refused = command("train", *options, "student_weights=student.safetensors")
    assert refused.status == 1
    assert "student_weights=student.safetensors are of a student with" in refused.err


def test_training_on_a_processor_keeps_freed_memory(command, tmp_path, monkeypatch):
    saved(tmp_path / "mine.xyz", molecules(20))
    kept = []
    monkeypatch.setattr("jointkd.commands.train.keep_freed_memory", lambda: kept.append(True))
    small = ("student.width=8", "student.layers=1", "student.radial=4", "student.cutoff=3")
    done = command("train", *OPTIONS, "teacher=none", "method=none", "student=painn", "trainer.accelerator=cpu", *small)
    assert done.status == 0, done.err
    assert kept

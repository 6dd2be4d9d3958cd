"""Every student trains from the command line, and continues from weights of the prior art."""

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
def test_gemnets_scale_factors_are_fitted_and_it_is_trained_and_evaluated(command, tmp_path, options, student):
    trained = command(
        "train", *options, f"student={student}", "student.width=8", "student.blocks=1", "student.cutoff=3"
    )
    assert trained.status == 0, trained.err
    assert "scale factors of the student" in trained.out + trained.err
    run = run_of(tmp_path)
    weights = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    factors = [value for name, value in weights.items() if name.endswith(".factor")]
    assert factors
    assert not any(factor == 1 for factor in factors)
    summary = json.loads((run / "summary.json").read_text())
    assert f"student {student}: {summary['parameters']} parameters" in trained.out + trained.err
    evaluated = command("evaluate", f"run={run.relative_to(tmp_path)}")
    assert evaluated.status == 0, evaluated.err
    assert f"{summary['test']['force_mae_meV_per_A']:.3f}" in evaluated.out + evaluated.err


def test_training_continues_from_a_checkpoint_of_the_prior_art(command, tmp_path, options):
    torch.manual_seed(5)
    student = small_student("painn", conservative=False, dtype=torch.float32)
    torch.save(checkpoint_of(student), tmp_path / "theirs.pt")
    imported = command("import_checkpoint", "checkpoint=theirs.pt", "output=student.safetensors")
    assert imported.status == 0, imported.err
    attributes = {name: getattr(student, name) for name in ("cutoff", "conservative", "elements", "max_neighbors")}
    more = [f"student.{name}={'null' if value is None else value}" for name, value in attributes.items()]
    shape = {"width": 16, "layers": 2, "radial": student.basis.count}
    more += [f"student.{name}={value}" for name, value in shape.items()]
    trained = command(
        "train", *options, "student_weights=student.safetensors", "student.smooth=false", "optimizer.lr=0", *more
    )
    assert trained.status == 0, trained.err
    weights = torch.load(run_of(tmp_path) / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    for name, value in student.state_dict().items():
        torch.testing.assert_close(weights[f"student.{name}"], value)

    refused = command("train", *options, "student_weights=student.safetensors")
    assert refused.status == 1
    assert "student_weights=student.safetensors are of a student with" in refused.err


def test_training_on_a_cpu_keeps_freed_memory(command, tmp_path, monkeypatch):
    saved(tmp_path / "mine.xyz", molecules(20))
    calls = []
    monkeypatch.setattr("jointkd.commands.train.keep_freed_memory", lambda: calls.append(True))
    small = ("student.width=8", "student.layers=1", "student.radial=4", "student.cutoff=3")
    trained = command(
        "train", *OPTIONS, "teacher=none", "method=none", "student=painn", "trainer.accelerator=cpu", *small
    )
    assert trained.status == 0, trained.err
    assert calls

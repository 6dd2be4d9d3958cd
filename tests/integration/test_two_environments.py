"""A training run without fairchem-core, whose labels are made in the environment of `make env-fairchem`."""

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet

from tests.files import saved

ROOT = Path(__file__).parents[2]
CREATED = ROOT / ".venv-fairchem" / "bin" / "python"


@pytest.fixture
def python() -> Path:
    """The interpreter of that environment, or that of JOINTKD_FAIRCHEM_PYTHON. Skips the test without one."""
    if importlib.util.find_spec("fairchem") is not None:
        pytest.skip("fairchem-core is in this environment")
    path = Path(os.environ.get("JOINTKD_FAIRCHEM_PYTHON", CREATED))
    if not path.exists():
        pytest.skip(f"the environment of fairchem-core does not exist ({path}): make env-fairchem")
    return path


def dynamics(count: int) -> list[Atoms]:
    """Structures from molecular dynamics of hot copper."""
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    atoms.calc = EMT()
    atoms.set_momenta(np.random.default_rng(0).normal(scale=2.0, size=(len(atoms), 3)))
    steps = VelocityVerlet(atoms, 2 * units.fs)
    structures = []
    for _ in range(count):
        steps.run(10)
        frame = atoms.copy()
        frame.info["REF_energy"] = atoms.get_potential_energy()
        frame.arrays["REF_forces"] = atoms.get_forces()
        structures.append(frame)
    return structures


def test_a_training_run_labels_in_the_other_environment_and_trains_in_this_one(command, tmp_path, python, monkeypatch):
    monkeypatch.setattr("jointkd.labelling.remote.PACKAGE", tmp_path / "no checkout" / "jointkd")
    saved(tmp_path / "md.xyz", dynamics(14))
    write = ["-m", "tests.fairchem_env.checkpoints", str(tmp_path / "esen_30m_oam.pt")]
    subprocess.run([python, *write], cwd=ROOT, check=True)
    options = (
        *("data=extxyz", "data.path=md.xyz", "data.energy_key=REF_energy", "data.forces_key=REF_forces"),
        *("student.width=8", "student.layers=1", "student.radial=4", "student.cutoff=3", "trainer.max_epochs=1"),
        *("label.rows=2", "label.eval_rows=2", "label.path=labels", "hydra.run.dir=run"),
        *("teacher=esen_oam", "teacher.checkpoint=esen_30m_oam.pt"),
    )
    refused = command("train", *options)
    assert refused.status == 1
    assert refused.err.startswith(
        "MissingExtra: fairchem teachers need fairchem-core, which is not installed; run `make"
    )
    environment = tmp_path / ".venv-fairchem"
    environment.symlink_to(python.parents[1])
    trained = command("train", *options)
    assert trained.status == 0, trained.err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["teacher"] == "esen_oam"
    assert len(summary["teacher_card"]["elements"]) == 89
    assert summary["teacher_card"]["level_of_theory"].startswith("PBE")
    assert np.isfinite(list(summary["test"].values())).all()
    again = command("train", *options, "overwrite=true", f"teacher.python={tmp_path / 'nowhere'}")
    assert again.status == 0, again.err
    assert "labels of esen_oam" not in again.out

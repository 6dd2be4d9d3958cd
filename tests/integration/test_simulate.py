"""Molecular dynamics from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.io import read, write

from jointkd.students.student_file import SavedStudent, build, save_student

MOLECULES = [molecule(name) for name in ("CH3CH2OH", "H2O", "CH3CONH2")]
CONFIG = {
    "_target_": "jointkd.students.painn.PaiNN",
    "width": 8,
    "layers": 1,
    "radial": 4,
    "cutoff": 3.0,
    "conservative": True,
}
REFERENCES = {1: -13.0, 6: -1030.0, 7: -1486.0, 8: -2040.0}


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """A student with small forces, so that hot molecules dissociate."""
    torch.manual_seed(0)
    file = tmp_path / "student.safetensors"
    save_student(file, SavedStudent(CONFIG, build(CONFIG, torch.float32).state_dict(), REFERENCES, {}))
    write(tmp_path / "start.xyz", MOLECULES, format="extxyz")
    return file


def folder_of(tmp_path: Path) -> Path:
    (summary,) = (tmp_path / "outputs" / "simulations").rglob("summary.json")
    return summary.parent


def test_a_simulation_writes_a_trajectory_a_log_a_summary_and_a_plot(command, tmp_path, student):
    options = ("steps=25", "interval=10", "temperature=10", "timestep=0.5")
    result = command("simulate", "run=student.safetensors", "structures=start.xyz", *options)
    assert result.status == 0, result.err
    folder = folder_of(tmp_path)
    frames = read(folder / "trajectory.xyz", index=":")
    assert len(frames) == 4  # after 0, 10, 20 and 25 steps
    np.testing.assert_allclose(frames[0].positions, MOLECULES[0].positions, atol=1e-6)
    assert np.abs(frames[-1].positions - MOLECULES[0].positions).max() > 1e-4
    assert np.isfinite(frames[-1].get_forces()).all()
    log = np.genfromtxt(folder / "log.csv", delimiter=",", names=True)
    np.testing.assert_allclose(log["time_ps"], [0, 0.005, 0.01, 0.0125], atol=1e-6)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["stable"] is True
    assert summary["steps"] == 25
    assert summary["stable_ps"] == pytest.approx(0.0125)
    assert summary["bonds"] == 8
    assert (folder / "simulation.png").stat().st_size > 10_000


def test_the_trajectory_depends_on_the_seed_alone(command, tmp_path, student):
    ends = []
    for seed in (1, 1, 2):
        options = ("steps=10", f"seed={seed}", f"hydra.run.dir={len(ends)}")
        result = command("simulate", "run=student.safetensors", "structures=start.xyz", *options)
        assert result.status == 0, result.err
        ends.append(read(tmp_path / str(len(ends)) / "trajectory.xyz", index=-1).positions)
    np.testing.assert_array_equal(ends[0], ends[1])
    assert np.abs(ends[0] - ends[2]).max() > 1e-3


def test_a_simulation_ends_with_a_broken_bond_and_names_it(command, tmp_path, student):
    result = command(
        "simulate", "run=student.safetensors", "structures=start.xyz", "steps=1000", "interval=5", "temperature=3000"
    )
    assert result.status == 0, result.err
    assert "unstable after " in result.out + result.err
    assert " Å long and was " in result.out + result.err
    summary = json.loads((folder_of(tmp_path) / "summary.json").read_text())
    assert summary["stable"] is False
    assert summary["steps"] < 1000
    log = np.genfromtxt(folder_of(tmp_path) / "log.csv", delimiter=",", names=True)
    assert log["bond_deviation_A"][-1] > 0.5 > log["bond_deviation_A"][-2]
    assert summary["stable_ps"] == pytest.approx(log["time_ps"][-2], abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["structures=none.xyz"], "DataError: structures=none.xyz does not exist"),
        (["index=3"], "DataError: index=3: start.xyz has fewer structures; count them from 0"),
        (["ensemble=npt"], "ConfigError: ensemble=npt is not known; choose nvt or nve"),
        (["steps=0"], "ConfigError: steps=0 must be a positive integer; give at least 1"),
        (
            ["temperature=hot"],
            "ConfigError: temperature=hot is of the wrong type; give it a value of type float or int",
        ),
        (["run=outputs"], "DataError: run=outputs does not exist"),
    ],
)
def test_a_wrong_option_gives_a_one_line_error(command, tmp_path, student, options, message):
    values = {"run": "student.safetensors", "structures": "start.xyz"} | dict(option.split("=") for option in options)
    result = command("simulate", *(f"{name}={value}" for name, value in values.items()))
    assert result.status == 1
    assert result.err.startswith(message)
    assert result.err.count("\n") == 1

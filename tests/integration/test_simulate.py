"""Molecular dynamics from the command line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from ase.io import read, write

from jointkd.students.painn import PaiNN
from jointkd.students.student_file import SavedStudent, build, read_student, save_student
from tests.files import molecules, saved

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
    (summary,) = (tmp_path / "outputs" / "simulations").rglob("simulation.json")
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
    summary = json.loads((folder / "simulation.json").read_text(encoding="utf-8"))
    assert summary["stable"] is True
    assert summary["steps"] == 25
    assert summary["stable_ps"] == pytest.approx(0.0125)
    assert summary["bonds"] == 8
    assert summary["bonds_from_training"] == 0  # the student's file has no lengths
    assert summary["options"]["temperature"] == 10
    assert sorted(file.name for file in folder.iterdir()) == [
        "events.csv",
        "log.csv",
        "simulation.json",
        "simulation.png",
        "trajectory.xyz",
    ]
    assert (folder / "simulation.png").stat().st_size > 10_000


class OwnPaiNN(PaiNN):
    """A student of the user's own class."""


def test_a_student_of_ones_own_is_simulated_as_the_message_says(command, tmp_path, student):
    saved = read_student(student)
    save_student(student, saved._replace(config={**CONFIG, "_target_": f"{__name__}.OwnPaiNN"}))
    options = ("run=student.safetensors", "structures=start.xyz", "steps=1")
    refused = command("simulate", *options)
    assert refused.status == 1
    advised = re.search(r"add (trust=\S+) ", refused.err)[1]
    assert advised == f"trust={__name__}.OwnPaiNN"
    for name, trust in {"word": advised, "list": f"trust=[{__name__}.OwnPaiNN]"}.items():
        result = command("simulate", *options, trust, f"directory={name}")
        assert result.status == 0, result.err


def test_the_trajectory_depends_on_the_seed_alone(command, tmp_path, student):
    ends = []
    for seed in (1, 1, 2):
        options = ("steps=10", f"seed={seed}", f"hydra.run.dir={len(ends)}")
        result = command("simulate", "run=student.safetensors", "structures=start.xyz", *options)
        assert result.status == 0, result.err
        ends.append(read(tmp_path / str(len(ends)) / "trajectory.xyz", index=-1).positions)
    np.testing.assert_array_equal(ends[0], ends[1])
    assert np.abs(ends[0] - ends[2]).max() > 1e-3


def test_a_simulation_ends_where_the_molecule_falls_apart_and_names_the_bond(command, tmp_path, student):
    result = command(
        "simulate", "run=student.safetensors", "structures=start.xyz", "steps=1000", "interval=5", "temperature=3000"
    )
    assert result.status == 0, result.err
    assert re.search(
        r"unstable after 0\.\d+ ps: fragments: 2 molecules instead of 1: the bond \S+ is \S+ Å long", result.out
    )
    summary = json.loads((folder_of(tmp_path) / "simulation.json").read_text(encoding="utf-8"))
    assert summary["stable"] is False
    assert summary["steps"] < 1000
    assert summary["events"][-1]["kind"] == "fragments"
    log = np.genfromtxt(folder_of(tmp_path) / "log.csv", delimiter=",", names=True)
    assert log["bond_deviation_A"][-1] > 0.5
    assert summary["stable_ps"] == pytest.approx(log["time_ps"][-2], abs=1e-6)
    kept = log["time_ps"][np.argmax(log["bond_deviation_A"] > 0.5) - 1]
    assert summary["bonds_kept_ps"] == pytest.approx(kept, abs=1e-6)


def test_equilibrium_lengths_are_those_of_the_students_training_data(command, tmp_path, student):
    saved = read_student(student)
    save_student(student, saved._replace(origin={"bond_lengths": {"H1-O1": 0.3, "H1-O2": 0.2}}))
    options = ("run=student.safetensors", "structures=start.xyz", "index=1", "steps=1", "stop_when=bond")
    result = command("simulate", *options)
    assert result.status == 0, result.err
    assert "0.20 Å in equilibrium, the most of 2 bonds that deviate" in result.out
    summary = json.loads((folder_of(tmp_path) / "simulation.json").read_text(encoding="utf-8"))
    assert summary["bonds_from_training"] == 2
    assert (summary["steps"], summary["stable_ps"], summary["stable"]) == (0, 0.0, False)


def test_a_trained_student_knows_the_lengths_of_its_training_data_wherever_it_goes(command, tmp_path):
    data = saved(tmp_path / "mine.xyz", molecules(12))
    small = ("student.width=8", "student.layers=1", "student.radial=6", "student.cutoff=4.0", "trainer.max_epochs=1")
    keys = ("data.energy_key=REF_energy", "data.forces_key=REF_forces", "teacher=none", "method=none")
    trained = command("train", "data=extxyz", f"data.path={data}", *keys, *small, "hydra.run.dir=run")
    assert trained.status == 0, trained.err
    (tmp_path / "run" / "student.safetensors").rename(tmp_path / "alone.safetensors")
    lengths = read_student(tmp_path / "alone.safetensors").origin["bond_lengths"]
    assert lengths["H1-O2"] == pytest.approx(0.97, abs=0.1)
    options = ("structures=mine.xyz", "steps=1", "temperature=1", "directory=dynamics")
    assert command("simulate", "run=alone.safetensors", *options).status == 0
    summary = json.loads((tmp_path / "dynamics" / "simulation.json").read_text(encoding="utf-8"))
    assert summary["bonds_from_training"] == summary["bonds"] > 0


def test_a_new_directory_is_made_and_a_finished_simulation_or_a_run_is_never_replaced(command, tmp_path, student):
    options = ("run=student.safetensors", "structures=start.xyz", "steps=2", "temperature=1")
    assert command("simulate", *options, "directory=new/one").status == 0
    assert not any((tmp_path / "outputs" / "simulations").iterdir())  # the folder that is not used
    before = {file.name: file.read_bytes() for file in (tmp_path / "new" / "one").iterdir()}
    assert len(before) == 5
    again = command("simulate", *options, "seed=1", "directory=new/one")
    assert again.status == 1
    assert again.err == (
        "ConfigError: directory=new/one holds another simulation (log.csv); "
        "give another folder, or remove those files\n"
    )
    assert {file.name: file.read_bytes() for file in (tmp_path / "new" / "one").iterdir()} == before
    run = tmp_path / "run"
    run.mkdir()
    student.rename(run / "student.safetensors")
    refused = command("simulate", "run=run", *options[1:], "hydra.run.dir=run")
    assert refused.status == 1
    assert "is the folder of a run (it has student.safetensors)" in refused.err
    assert [file.name for file in run.iterdir()] == ["student.safetensors"]


def test_frozen_atoms_and_masses_of_the_file_are_kept(command, tmp_path, student):
    methanol = molecule("CH3OH")
    methanol.set_constraint(FixAtoms([0, 1]))
    methanol.set_masses([12.011, 15.999, 2.014, 1.008, 1.008, 1.008])
    write(tmp_path / "start.xyz", methanol, format="extxyz")
    for ensemble in ("nvt", "nve"):
        options = ("run=student.safetensors", "structures=start.xyz", "steps=10", f"ensemble={ensemble}")
        result = command("simulate", *options, f"directory={ensemble}")
        assert result.status == 0, result.err
        assert "2 atoms are frozen" in result.out
        first, last = (read(tmp_path / ensemble / "trajectory.xyz", index=index) for index in (0, -1))
        moved = np.abs(last.positions - first.positions).max(axis=1)
        assert (moved[:2] == 0).all()
        assert (moved[2:] > 1e-3).all()
        np.testing.assert_allclose(first.get_masses(), methanol.get_masses(), atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["structures=none.xyz"], "DataError: structures=none.xyz does not exist"),
        (["index=3"], "DataError: index=3: start.xyz has fewer structures; count them from 0"),
        (["ensemble=npt"], "ConfigError: ensemble=npt is not known; choose one of nvt, nve"),
        (["steps=0"], "ConfigError: steps=0 must be a positive integer; the default is 10000"),
        (
            ["temperature=-10"],
            "ConfigError: temperature=-10 must not be negative, and must be finite; the default is 300",
        ),
        (["friction=-1"], "ConfigError: friction=-1 must be a positive number; the default is 0.01"),
        (["timestep=0"], "ConfigError: timestep=0 must be a positive number; the default is 1.0"),
        (["seed=-1"], "ConfigError: seed=-1 must not be negative, and must be finite; the default is 0"),
        (["device=gpu"], "ConfigError: device=gpu is not a device; give cpu, cuda or cuda:1, or leave it out"),
        (
            ["structures=one.xyz"],
            "DataError: structure 0 of one.xyz: one atom has no degrees of freedom besides its centre of mass; give a ",
        ),
        (
            ["temperature=hot"],
            "ConfigError: temperature=hot is of the wrong type; give it a value of type float or int",
        ),
        (["run=outputs"], "DataError: run=outputs does not exist"),
    ],
)
def test_a_wrong_option_gives_a_one_line_error(command, tmp_path, student, options, message):
    write(tmp_path / "one.xyz", bulk("Cu"), format="extxyz")
    values = {"run": "student.safetensors", "structures": "start.xyz"} | dict(option.split("=") for option in options)
    result = command("simulate", *(f"{name}={value}" for name, value in values.items()))
    assert result.status == 1
    assert result.err.startswith(message)
    assert result.err.count("\n") == 1


def test_an_exported_student_simulates_as_its_file_does_and_only_with_consent(command, tmp_path, student):
    exported = command("export", "run=student.safetensors", "to=exported")
    assert exported.status == 0, exported.err
    assert "written to student.exported.pt2" in exported.out
    options = ("structures=start.xyz", "steps=10", "interval=10", "temperature=10")
    refused = command("simulate", "run=student.exported.pt2", *options)
    assert refused.status == 1
    assert "student.exported.pt2 is compiled code" in refused.err
    assert "Traceback" not in refused.err
    for run in (("run=student.exported.pt2", "trust=true"), ("run=student.safetensors",)):
        result = command("simulate", *run, *options, f"directory={Path(run[0]).suffix[1:]}")
        assert result.status == 0, result.err
    frames = [read(tmp_path / folder / "trajectory.xyz", index=-1) for folder in ("pt2", "safetensors")]
    np.testing.assert_allclose(frames[0].positions, frames[1].positions, atol=1e-6)
    again = command("export", "run=student.safetensors", "to=exported")
    assert again.status == 1
    assert "output=student.exported.pt2 exists already" in again.err


def test_a_simulation_keeps_freed_memory(command, student, monkeypatch):
    kept = []
    monkeypatch.setattr("jointkd.commands.simulate.keep_freed_memory", lambda: kept.append(True))
    assert command("simulate", "run=student.safetensors", "structures=start.xyz", "steps=1").status == 0
    assert kept == [True]

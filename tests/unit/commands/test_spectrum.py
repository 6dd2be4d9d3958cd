"""The spectrum of students' errors from the command line."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import write

from jointkd.commands.spectrum import below
from jointkd.errors import DataError
from jointkd.simulation.dihedrals import Dihedral
from jointkd.simulation.path_errors import Samples
from jointkd.simulation.paths import turn
from jointkd.students.student_file import SavedStudent, build, save_student
from tests.torsion import PEROXIDE, at_angle
from tests.unit.commands.test_evaluate import LABELS, MADE, RUN, SET
from tests.unit.commands.test_scan import CONFIG, DIHEDRAL, TEACHER, students

__all__ = ["students"]  # the fixture


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "spectrum.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_spectrum_compares_students_along_turns(command, students):
    structures = [at_angle(100.0), Atoms("O"), at_angle(110.0)]
    structures[2].info["charge"] = 1
    write(students / "peroxide.xyz", structures, format="extxyz")
    ionic = (*TEACHER[:2], "teacher.calculator=tests.torsion.Ionic")
    options = ("structures=peroxide.xyz", "steps=16", "max_rise=null", "directory=out", *ionic)
    result = command("spectrum", "runs=runs", *options)
    assert result.status == 0, result.err
    assert result.out.count("1 of 2 structures of peroxide.xyz have a charge or a spin (the first: charge=1)") == 1
    assert "1 of 3 structures of peroxide.xyz are left out: they have one atom" in result.out
    out = students / "out"
    assert sorted(file.name for file in out.iterdir()) == ["spectrum.csv", "spectrum.json", "spectrum.png"]
    summary = json.loads((out / "spectrum.json").read_text(encoding="utf-8"))
    assert list(summary["students"]) == ["hessian", "joint"]
    assert summary["unit"] == "rad"
    assert summary["paths"] == 2
    assert summary["students"]["joint"]["energy_rms_meV"] > 0
    assert "constant_rms_meV" not in summary["students"]["joint"]  # these students were not trained by a run
    assert set(summary["ratios"]) == {"joint / hessian", "hessian / joint"}
    table = rows(out)
    assert [int(row["mode"]) for row in table if row["student"] == "joint"] == list(range(1, 9))
    total = sum(float(row["energy_meV2"]) for row in table if row["student"] == "joint")
    assert total == pytest.approx(summary["students"]["joint"]["energy_rms_meV"] ** 2, rel=1e-4)
    assert "relative to hessian" in result.out
    assert (out / "spectrum.png").stat().st_size > 10_000


def test_a_teacher_that_takes_no_charge_has_no_spectrum_of_ions(command, students):
    ion = at_angle(100.0)
    ion.info["charge"] = 1
    write(students / "ion.xyz", [at_angle(110.0), ion], format="extxyz")
    result = command("spectrum", "runs=runs", "structures=ion.xyz", "steps=16", "directory=out", *TEACHER)
    assert result.status == 1
    assert "the teacher is left out: teacher twofold takes no charge and no spin" in result.out
    assert result.err.startswith("ConfigError: a spectrum is that of errors against a teacher, and there is none")


@pytest.mark.slow
def test_the_zero_of_energy_is_found_from_the_data_and_labels_of_a_run(command, tmp_path):
    pytest.importorskip("mace")
    shutil.copytree(RUN, tmp_path / "run")
    for place, source in (("labels", LABELS), ("set", SET)):
        shutil.copytree(source, tmp_path / place)
    shutil.copy(MADE / "molecules.xyz", tmp_path)
    options = ("structures=molecules.xyz", "along=lines", "count=2", "steps=8", "first_high=2", "max_rise=null")
    places = ("label.path=labels", "data.path=molecules.xyz")
    teacher = ("teacher=mace", f"teacher.checkpoint={MADE / 'teacher'}", "teacher.name=mace")
    result = command("spectrum", "run=run", *options, *places, *teacher, "directory=out")
    assert result.status == 0, result.err
    assert "teacher energies aligned to the reference data" in result.out
    found = json.loads((tmp_path / "out" / "spectrum.json").read_text(encoding="utf-8"))["students"]
    (student,) = found.values()
    assert student["constant_rms_meV"] > 0
    assert float(rows(tmp_path / "out")[0]["bound_meV2"]) > 0
    other = ("teacher=student", "teacher.run=run", "teacher.name=itself")
    result = command("spectrum", "run=run", *options, *places, *other, "directory=again")
    assert result.status == 0, result.err
    assert "not brought to one zero of energy: its labels are of another teacher than itself" in result.out
    found = json.loads((tmp_path / "again" / "spectrum.json").read_text(encoding="utf-8"))["students"]
    (student,) = found.values()
    assert student["energy_rms_meV"] < 1e-6
    assert "constant_rms_meV" not in student


@pytest.mark.slow
def test_an_atom_of_a_crystal_is_moved_along_a_lattice_vector(command, tmp_path):
    weights = build(CONFIG, torch.float32).state_dict()
    save_student(tmp_path / "a.safetensors", SavedStudent(CONFIG, weights, {8: -2040.0}, {}))
    save_student(
        tmp_path / "b.safetensors", SavedStudent(CONFIG, {n: 1.1 * w for n, w in weights.items()}, {8: -2040.0}, {})
    )
    write(tmp_path / "crystal.xyz", bulk("O", "fcc", 4.0, cubic=True), format="extxyz")
    teacher = ("teacher=student", "teacher.run=b.safetensors", "teacher.name=b")
    options = (
        "structures=crystal.xyz",
        "along=translations",
        "atom=1",
        "vector=[1,0,0]",
        "steps=8",
        "max_rise=null",
        "directory=out",
    )
    result = command("spectrum", "run=a.safetensors", *options, *teacher)
    assert result.status == 0, result.err
    assert [float(row["omega_per_Å"]) for row in rows(tmp_path / "out")][:2] == pytest.approx(
        [1.5708, 3.1416], abs=1e-4
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("teacher=none",), "there is none; name one with teacher=…"),
        (("along=circles",), "ConfigError: along=circles is not known; choose one of turns, translations, lines"),
        (("first_high=40", "steps=16"), "ConfigError: first_high=40 must be an integer from 1 to 8"),
        ((DIHEDRAL, "directory=runs/joint", *TEACHER), "already"),
        (("max_rise=0",), "ConfigError: max_rise=0 must be a positive number in eV"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(command, students, arguments, message):
    write(students / "peroxide.xyz", at_angle(100.0), format="extxyz")
    before = sorted(students.rglob("*.*"))
    result = command("spectrum", "run=runs/joint", "structures=peroxide.xyz", *arguments)
    assert result.status == 1
    assert message in result.err
    assert result.err.count("\n") == 1
    assert sorted(students.rglob("*.*")) == before


def test_paths_along_which_the_teachers_energy_rises_too_far_are_left_out(caplog):
    caplog.set_level("INFO")
    path = turn(PEROXIDE, Dihedral.of(PEROXIDE, (2, 0, 1, 3), "it"), 8, "it")
    rises = (0.2, 2.9, 3.1, float("nan"))
    samples = [Samples(np.linspace(0.0, rise, 8), None, np.zeros(8)) for rise in rises]
    kept, theirs = below([path] * 4, samples, 3.0)
    assert len(kept) == 2
    assert theirs == samples[:2]
    assert (
        "2 of 4 paths along which the teacher's energy rises by more than max_rise=3.0 eV are left out" in caplog.text
    )
    assert len(below([path] * 4, samples, None)[0]) == 3
    with pytest.raises(DataError, match="raise max_rise"):
        below([path] * 4, samples, 0.1)

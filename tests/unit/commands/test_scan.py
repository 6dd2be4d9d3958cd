"""Scans of a dihedral, and the slices of figure 5, from the command line."""

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.io import read, write

from jointkd.students.student_file import SavedStudent, build, save_student
from tests.torsion import PEROXIDE, TwoFold, at_angle
from tests.unit.commands.test_evaluate import RUN
from tests.unit.simulation.test_reference_energies import slices

CONFIG = {
    "_target_": "jointkd.students.painn.PaiNN",
    "width": 8,
    "layers": 1,
    "radial": 4,
    "cutoff": 3.0,
    "conservative": True,
}
TEACHER = ("teacher=ase", "teacher.name=twofold", "teacher.calculator=tests.torsion.TwoFold")
DIHEDRAL = "dihedral=[2,0,1,3]"


@pytest.fixture
def students(tmp_path: Path) -> Path:
    """Two students of hydrogen and oxygen, and hydrogen peroxide."""
    for number, method in enumerate(("joint", "hessian")):
        torch.manual_seed(number)
        weights = build(CONFIG, torch.float32).state_dict()
        file = tmp_path / "runs" / method / "student.safetensors"
        save_student(file, SavedStudent(CONFIG, weights, {1: -13.0, 8: -2040.0}, {"method": method}))
    write(tmp_path / "start.xyz", [molecule("CH3CH2OH"), PEROXIDE], format="extxyz")
    return tmp_path


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "scan.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_rigid_scan_compares_students_teacher_and_reference(command, students):
    angles = np.arange(0.0, 360.0, 45.0)
    table = "".join(f"{angle},{0.1 * (1 + np.cos(2 * np.radians(angle)))}\n" for angle in angles)
    (students / "dft.csv").write_text("angle_deg,energy_eV\n" + table)
    options = ("structure=start.xyz", "index=1", DIHEDRAL, "steps=8", "reference=dft.csv", "directory=out")
    result = command("scan", "runs=runs", *options, *TEACHER)
    assert result.status == 0, result.err
    out = students / "out"
    assert sorted(file.name for file in out.iterdir()) == ["scan.csv", "scan.json", "scan.png", "structures.xyz"]
    (found,) = json.loads((out / "scan.json").read_text(encoding="utf-8"))["curves"].values()
    assert list(found) == ["reference", "hessian", "joint", "teacher"]
    assert found["reference"]["barrier_meV"] == pytest.approx(200)
    assert found["teacher"]["barrier_meV"] == pytest.approx(300)
    assert found["teacher"]["to_reference"]["rmse_meV"] == pytest.approx(50 / np.sqrt(2))
    assert found["joint"]["to_teacher"]["rmse_meV"] > 0
    frames = read(out / "structures.xyz", index=":")
    assert [frame.info["dihedral_deg"] for frame in frames] == angles.tolist()
    energies = [float(row["energy_eV"]) for row in rows(out) if row["force_field"] == "joint"]
    np.testing.assert_allclose([frame.info["joint_energy"] for frame in frames], energies)
    assert len(rows(out)) == 4 * 8
    assert "RMSE to reference" in result.out
    assert (out / "scan.png").stat().st_size > 10_000
    assert not (students / "outputs").exists() or not list((students / "outputs").rglob("*.*"))


def test_a_dihedral_by_smarts_is_that_of_its_atoms(command, students):
    pytest.importorskip("rdkit", reason="the extra smarts is not installed")
    options = ("structure=start.xyz", "index=1", "steps=4", "teacher=none")
    result = command("scan", "run=runs/joint", "dihedral=[#1]O-[OX2][#1]", *options, "directory=out")
    assert result.status == 0, result.err
    assert "of structure 1 of start.xyz, OO, is H2-O0-O1-H3 [2, 0, 1, 3]\n" in result.out
    assert command("scan", "run=runs/joint", DIHEDRAL, *options, "directory=again").status == 0
    by_smarts, by_atoms = (
        json.loads((students / name / "scan.json").read_text(encoding="utf-8")) for name in ("out", "again")
    )
    assert by_smarts["curves"] == by_atoms["curves"]
    assert by_smarts["options"]["dihedral"] == "[#1]O-[OX2][#1]"
    for summary in (by_smarts, by_atoms):
        assert summary["options"]["dihedral_atoms"] == [2, 0, 1, 3]


def test_the_charge_of_the_file_counts_for_bond_orders(command, students):
    pytest.importorskip("rdkit", reason="the extra smarts is not installed")
    ion = molecule("CH3CH2OH")
    del ion[3]
    for expected in ("no bond orders for structure 0 of ion.xyz with a total charge of 0", "was not trained on C"):
        write(students / "ion.xyz", ion, format="extxyz")
        result = command("scan", "run=runs/joint", "structure=ion.xyz", "dihedral=[#1]CC[O-]", "teacher=none")
        assert expected in result.err
        ion.info["charge"] = -1


def test_a_charge_that_no_student_takes_is_said_once(command, students):
    ion = PEROXIDE.copy()
    ion.info.update(charge=1, spin=2)
    write(students / "ion.xyz", ion, format="extxyz")
    result = command("scan", "runs=runs", "structure=ion.xyz", DIHEDRAL, "steps=4", "directory=out", *TEACHER)
    assert result.status == 0, result.err
    assert result.out.count("structure 0 of ion.xyz has charge=1 and spin=2, which does not count here: students") == 1
    assert (
        "the teacher is left out: teacher twofold takes no charge and no spin, but structures have them" in result.out
    )
    (found,) = json.loads((students / "out" / "scan.json").read_text(encoding="utf-8"))["curves"].values()
    assert list(found) == ["hessian", "joint"]


def test_a_teacher_gets_the_charge_that_the_file_states(command, students):
    ion = PEROXIDE.copy()
    ion.info["charge"] = 1
    write(students / "ion.xyz", ion, format="extxyz")
    ionic = (*TEACHER[:2], "teacher.calculator=tests.torsion.Ionic")
    result = command("scan", "runs=runs", "structure=ion.xyz", DIHEDRAL, "steps=8", "directory=out", *ionic)
    assert result.status == 0, result.err
    (found,) = json.loads((students / "out" / "scan.json").read_text(encoding="utf-8"))["curves"].values()
    assert found["teacher"]["barrier_meV"] == pytest.approx(2 * 300)


def test_without_rdkit_smarts_is_refused_in_one_line(command, students, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    result = command("scan", "run=runs/joint", "structure=start.xyz", "dihedral=[CX4][CX4]-[OX2][#1]", "teacher=none")
    assert result.status == 1
    assert result.err == (
        "MissingExtra: dihedral=[CX4][CX4]-[OX2][#1] is a SMARTS pattern, which needs RDKit; "
        "pip install 'jointkd[smarts]', or give four atoms as dihedral=[i,j,k,l], counted from 0\n"
    )


@pytest.mark.slow
def test_a_relaxed_scan_has_structures_of_each_force_field(command, students):
    options = ("structure=start.xyz", "index=1", DIHEDRAL, "steps=4", "relax=true", "fmax=0.1", "directory=out")
    result = command("scan", "run=[runs/hessian,runs/joint/student.safetensors]", *options, "teacher=none")
    assert result.status == 0, result.err
    frames = read(students / "out" / "structures.xyz", index=":")
    assert [frame.info["relaxed_with"] for frame in frames] == ["hessian"] * 4 + ["joint"] * 4
    assert [frame.get_dihedral(2, 0, 1, 3) % 360 for frame in frames[1:4]] == pytest.approx([90, 180, 270], abs=0.05)


def test_slices_are_followed_as_they_are_in_their_file(command, students):
    gammas = slices(students / "test_dih.xyz")
    result = command("scan", "run=runs/joint", "slices=test_dih.xyz", "directory=out", *TEACHER)
    assert result.status == 0, result.err
    curves = json.loads((students / "out" / "scan.json").read_text(encoding="utf-8"))["curves"]
    assert list(curves) == ["α = 71°, β = 120°", "α = 67°, β = 150°", "α = 151°, β = 180°"]
    expected = [TwoFold().get_potential_energy(at_angle(gamma)) for gamma in gammas]
    of_teacher = [row for row in rows(students / "out") if row["force_field"] == "teacher"]
    assert len(of_teacher) == 3 * len(gammas)
    np.testing.assert_allclose([float(row["energy_eV"]) for row in of_teacher[:12]], expected, atol=1e-6)
    for found in curves.values():
        assert found["reference"]["barrier_meV"] == pytest.approx(200)
        assert found["joint"]["to_reference"]["rmse_meV"] > 0
    assert not (students / "out" / "structures.xyz").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run=runs/joint", "structure=start.xyz"), "ConfigError: dihedral is not set; give structure=FILE dihedral="),
        (("structure=start.xyz", DIHEDRAL), "ConfigError: run is not set; give run=FOLDER"),
        (("run=runs", "structure=start.xyz", DIHEDRAL), "DataError: run=runs is no folder of a finished run; give the"),
        (("run=runs/joint", "structure=start.xyz", "dihedral=3"), "dihedral=3 must be a list of four atoms"),
        (("run=runs/joint", "structure=start.xyz", "dihedral=[0,1,2,3]", "teacher=none"), "was not trained on C"),
        (("run=runs/joint", "slices=start.xyz", "structure=start.xyz"), "slices and structure exclude each other"),
        (("run=runs/joint", "slices=start.xyz", "planes=[1,2]"), "ConfigError: planes=[1, 2] must be a list of pairs"),
        (("run=runs/joint", "slices=start.xyz"), "has no three angles under dihedrals; give test_dih.xyz"),
        (("run=runs/joint", "structure=start.xyz", "index=1", DIHEDRAL, "directory=runs/joint"), "already"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_write_nothing(command, students, arguments, message):
    before = sorted(students.rglob("*.*"))
    result = command("scan", *arguments)
    assert result.status == 1
    assert message in result.err
    assert result.err.count("\n") == 1
    assert sorted(students.rglob("*.*")) == before


@pytest.mark.slow
def test_results_that_exist_are_not_replaced(command, students):
    options = ("run=runs/joint", "structure=start.xyz", "index=1", DIHEDRAL, "steps=4", "teacher=none", "directory=out")
    assert command("scan", *options).status == 0
    again = command("scan", *options)
    assert again.err == "ConfigError: directory=out has scan.csv already; give another folder, or move that file away\n"


@pytest.mark.slow
def test_the_teacher_of_a_run_is_taken_where_it_is_data_and_left_out_with_a_line_where_it_is_not(command, tmp_path):
    shutil.copytree(RUN, tmp_path / "run")
    write(tmp_path / "start.xyz", molecule("CH3CH2OH"), format="extxyz")
    options = ("run=run", "structure=start.xyz", "dihedral=[0,1,2,3]", "steps=4")
    result = command("scan", *options, "directory=out")
    assert result.status == 0, result.err
    assert "the teacher mace of the run is left out" in result.out
    assert "name one with teacher=…, or leave it out with teacher=none" in result.out
    config = (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")
    assert "teacher:" in config
    result = command("scan", *options, "directory=again", "teacher=none")
    assert result.status == 0, result.err
    assert "left out" not in result.out

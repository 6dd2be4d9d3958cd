"""`bench bench.run=…`: how fast a student runs dynamics, beside its teacher."""

import json
from pathlib import Path

import pytest
import torch
from ase.build import bulk, molecule
from ase.io import write

from jointkd.commands.bench_dynamics import systems, water
from jointkd.reports.speed_plots import read
from jointkd.students.student_file import SavedStudent, build, save_student
from tests.integration.test_simulate import CONFIG, REFERENCES


def student(folder: Path, references: dict[int, float] = REFERENCES) -> str:
    torch.manual_seed(0)
    file = folder / "student.safetensors"
    save_student(file, SavedStudent(CONFIG, build(CONFIG, torch.float32).state_dict(), references, {}))
    return f"bench.run={file}"


OPTIONS = ("bench.steps=2", "hydra.run.dir=bench")


def test_student_and_teacher_are_timed_on_boxes_of_water(command, tmp_path):
    pytest.importorskip("mace")
    result = command("bench", student(tmp_path), "teacher=demo", "bench.sizes=[9,24]", *OPTIONS)
    assert result.status == 0, result.err
    rows = json.loads((tmp_path / "bench" / "bench.json").read_text(encoding="utf-8"))["dynamics"]
    assert [(row["atoms"], row["force_field"].split(",")[0]) for row in rows] == [
        (size, name) for size in (9, 24) for name in ("student", "gfn2_mace")
    ]
    for row in rows:
        assert row["ns_per_day"] == pytest.approx(86.4 / row["ms"])
        assert f"{row['ms']:.3g} ms per step" in result.out
    assert rows[1]["ms"] > rows[0]["ms"]


def test_a_structure_of_the_users_is_timed_without_a_teacher(command, tmp_path):
    write(tmp_path / "mine.xyz", [molecule("CH3CH2OH"), molecule("H2O")], format="extxyz")
    result = command("bench", student(tmp_path), "teacher=none", "bench.structures=mine.xyz", *OPTIONS)
    assert result.status == 0, result.err
    rows = json.loads((tmp_path / "bench" / "bench.json").read_text(encoding="utf-8"))["dynamics"]
    assert [(row["atoms"], row["force_field"]) for row in rows] == [(9, "student")]


def test_the_examples_teacher_is_not_timed_unless_it_is_chosen(command, tmp_path):
    result = command("bench", student(tmp_path), "bench.sizes=[9]", *OPTIONS)
    assert result.status == 0, result.err
    assert "no teacher: none of the students has the folder of a run that records one" in result.out
    rows = json.loads((tmp_path / "bench" / "bench.json").read_text(encoding="utf-8"))["dynamics"]
    assert [row["force_field"] for row in rows] == ["student"]


def test_every_run_below_a_folder_is_timed_and_keeps_its_speed_for_the_report(command, tmp_path):
    pytest.importorskip("mace")
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        student(tmp_path / "runs" / name)
        (tmp_path / "runs" / name / "summary.json").write_text("{}")
    for _ in range(2):
        result = command("bench", "bench.run=runs", "teacher=demo", "bench.sizes=[9]", *OPTIONS)
        assert result.status == 0, result.err
    rows = json.loads((tmp_path / "bench" / "bench.json").read_text(encoding="utf-8"))["dynamics"]
    assert [(row["run"], row["force_field"].split(",")[0]) for row in rows] == [
        ("runs/a", "student"),
        ("runs/a", "gfn2_mace"),
        ("runs/b", "student"),
    ]
    for name in ("a", "b"):
        speeds = read(tmp_path / "runs" / name)
        assert set(speeds) == {"student", "gfn2_mace, float64"}
        assert (tmp_path / "runs" / name / "speed-previous.json").exists()  # nothing is lost


@pytest.mark.parametrize(
    ("references", "arguments", "message"),
    [
        ({3: -1.0}, [], "the student does not know water; give a file of your own with bench.structures=FILE"),
        (REFERENCES, ["bench.structures=missing.xyz"], "missing.xyz does not exist"),
        (REFERENCES, ["bench.sizes=[0]"], "bench.sizes=0 must be a positive integer"),
        (REFERENCES, ["bench.device=abacus"], "device=abacus is not a device"),
    ],
)
def test_what_cannot_be_timed_is_refused_in_a_line(command, tmp_path, references, arguments, message):
    result = command("bench", student(tmp_path, references), "teacher=none", *OPTIONS, *arguments)
    assert result.status == 1
    assert message in result.err
    assert result.err.count("\n") == 1


def test_supercells_of_a_periodic_structure_have_about_the_sizes_that_are_asked_for(tmp_path):
    slab = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    write(tmp_path / "salt.xyz", slab, format="extxyz")
    assert [len(atoms) for atoms in systems(str(tmp_path / "salt.xyz"), [8, 200, 1000])] == [8, 216, 1000]
    slab.pbc = [True, True, False]
    write(tmp_path / "slab.xyz", slab, format="extxyz")
    assert [len(atoms) for atoms in systems(str(tmp_path / "slab.xyz"), [200])] == [8, 200]


def test_water_has_its_density_and_no_atoms_on_top_of_each_other():
    atoms = water(300)
    assert len(atoms) == 300
    assert atoms.get_masses().sum() / atoms.get_volume() * 1.66054 == pytest.approx(1.0, abs=0.01)
    distances = atoms.get_all_distances(mic=True)
    assert distances[distances > 0].min() > 0.7


def test_a_teacher_of_another_environment_is_refused(command, tmp_path):
    result = command("bench", student(tmp_path), "teacher.python=elsewhere/python", *OPTIONS)
    assert result.status == 1
    assert "teacher.python=elsewhere/python: this command calls the teacher in its own process" in result.err

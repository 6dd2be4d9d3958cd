"""Several students, and a teacher, on a file from the command line and from Python."""

import re
from pathlib import Path

import pytest
import torch

from jointkd import evaluate
from jointkd.errors import ConfigError
from jointkd.students.student_file import SavedStudent, build, save_student
from tests.files import FREE, molecules, saved

SMALL = {"width": 8, "layers": 1, "radial": 4, "cutoff": 3.0}
CONFIG = {"_target_": "jointkd.students.painn.PaiNN", **SMALL, "conservative": True}
KEYS = {"data.energy_key": "REF_energy", "data.forces_key": "REF_forces"}
EMT = "teacher.calculator=ase.calculators.emt.EMT"
FORCES_ALONE = ("teacher.calculator=tests.torsion.TwoFold", "teacher.atomic_energies=false")
ITSELF = ("teacher=student", "teacher.run=joint.safetensors", "teacher.name=itself")
OPTIONS = ["structures=some.xyz", *(f"{name}={value}" for name, value in KEYS.items())]


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    saved(tmp_path / "some.xyz", molecules(12))
    for seed, method in enumerate(("joint", "none")):
        torch.manual_seed(seed)
        weights = build(CONFIG, torch.float32).state_dict()
        save_student(tmp_path / f"{method}.safetensors", SavedStudent(CONFIG, weights, FREE, {"method": method}))


def test_students_are_compared_with_the_first_as_in_the_tables_of_the_paper(command):
    result = command("evaluate", "run=[joint.safetensors,none.safetensors]", *OPTIONS)
    assert result.status == 0, result.err
    assert "what all can predict: 12 structures, 56 atoms, 12 structures with energy, 12 structures with" in result.out
    assert re.search(r"\n +none +joint\n", result.out)  # the student without a teacher is the first
    assert re.search(r"\n  minus none +joint\n", result.out)
    assert re.search(r"\n  force_mae_meV_per_A +[-+]\d+\.\d\d \[[-+]\d+\.\d\d, [-+]\d+\.\d\d\]\n", result.out)
    pattern = command("evaluate", "run='*.safetensors'", *OPTIONS)
    assert pattern.out.split("what all can predict")[1] == result.out.split("what all can predict")[1]


def test_a_teacher_stands_beside_a_student(command):
    teacher = ("teacher=ase", EMT)
    result = command("evaluate", "run=joint.safetensors", *OPTIONS, *teacher)
    assert result.status == 0, result.err
    assert re.search(r"\n +joint +teacher\n", result.out)
    assert re.search(r"\n  energy_mae_meV_per_atom +\d+\.\d{3} +–\n", result.out)
    assert re.search(r"\n  force_mae_meV_per_A +\d+\.\d{3} +\d+\.\d{3}\n", result.out)


def test_hessian_rows_are_compared_with_those_of_a_teacher(command):
    result = command("evaluate", "run='*.safetensors'", *OPTIONS, *ITSELF, "rows=3")
    assert result.status == 0, result.err
    assert re.search(r"\n +none +joint +teacher\n", result.out)
    off, itself = map(float, re.search(r"\n  hessian_row_mae_eV_per_A2 +(\S+) +(\S+) +–\n", result.out).groups())
    assert off > 0.01
    assert itself < 1e-3  # single precision
    assert "itself takes about" in result.out
    assert "atomic_energy_mae_meV" not in result.out  # not asked for


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ["run=[joint.safetensors,none.safetensors]"],
            "several are compared on the structures of a file; give structure",
        ),
        (
            ["run=joint.safetensors", "teacher=ase", EMT],
            "several are compared on the structures of a file; give structures=",
        ),
        (
            ["run='*.safetensors'", *OPTIONS, "output=a.xyz"],
            "output=a.xyz is of one student; give one run, or leave out",
        ),
        (
            [
                "run=[joint.safetensors,none.safetensors]",
                "structures=some.xyz",
                "data.energy_key=null",
                "data.forces_key=null",
            ],
            "no structure of structures=some.xyz has energy or forces under data.energy_key=None",
        ),
        (
            ["run=joint.safetensors", *OPTIONS, "rows=2"],
            "rows=2 asks for a comparison with a teacher; give teacher=… and structures=FILE",
        ),
        (
            ["run=joint.safetensors", *OPTIONS, "atomic_energies=true", "teacher=none"],
            "atomic_energies=true asks for a comparison with a teacher; give",
        ),
        (["run=joint.safetensors", *OPTIONS, *ITSELF, "rows=-1"], "rows=-1 must be a number of Hessian rows or all"),
        (["run=joint.safetensors", *OPTIONS, *ITSELF, "atomic_energies=3"], "atomic_energies=3 must be true or false"),
        (
            ["run=joint.safetensors", *OPTIONS, *ITSELF, "atomic_energies=true"],
            "atomic_energies=true, and no student can be brought to one zero of energy with the teacher, as said ab",
        ),
        (
            ["run=joint.safetensors", *OPTIONS, "teacher=ase", *FORCES_ALONE, "atomic_energies=true"],
            "atomic_energies=true, and the teacher ase has none; leave out atomic_energies",
        ),
        (["run=[joint.safetensors,more]", *OPTIONS], "run=more does not exist; check the path"),
    ],
)
def test_bad_input_gets_one_line(command, tmp_path, options, line):
    before = sorted(tmp_path.iterdir())
    result = command("evaluate", *options)
    assert result.status == 1
    assert line in result.err
    assert result.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_one_student_is_evaluated_as_one(command, tmp_path):
    alone = command("evaluate", "run=joint.safetensors", *OPTIONS)
    for options in (("run=[joint.safetensors]",), ("run=joint.safetensors", "teacher=none")):
        assert command("evaluate", *options, *OPTIONS).out == alone.out


def test_a_student_may_be_called_teacher(command, tmp_path):
    torch.manual_seed(2)
    save_student(
        tmp_path / "teacher.safetensors", SavedStudent(CONFIG, build(CONFIG, torch.float32).state_dict(), FREE, {})
    )
    result = command("evaluate", "run=[teacher.safetensors,joint.safetensors]", *OPTIONS, "teacher=ase", EMT)
    assert result.status == 0, result.err
    assert re.search(r"\n +joint +teacher \(student\) +teacher\n", result.out)


def test_the_same_from_python(tmp_path, monkeypatch):
    pytest.importorskip("mace")
    monkeypatch.chdir(tmp_path)
    runs = ("none.safetensors", Path("joint.safetensors"))
    beside = evaluate(runs, structures="some.xyz", options={**KEYS, "teacher": "demo"})
    assert list(beside.metrics) == ["none", "joint", "teacher"]
    result = evaluate(runs, structures="some.xyz", options=KEYS)
    assert list(result.metrics) == ["none", "joint"]
    difference, low, high = result.differences["joint"]["force_mae_meV_per_A"]
    assert low <= difference <= high
    assert difference == pytest.approx(
        result.metrics["joint"]["force_mae_meV_per_A"] - result.metrics["none"]["force_mae_meV_per_A"]
    )


def test_a_teacher_that_needs_an_option_is_chosen_from_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    itself = dict(option.split("=") for option in ITSELF)
    beside = evaluate("joint.safetensors", structures="some.xyz", options={**KEYS, **itself})
    assert list(beside.metrics) == ["joint", "teacher"]
    with pytest.raises(ConfigError, match=r"teacher\.run belongs to a teacher, and none is chosen; add teacher=…"):
        evaluate("joint.safetensors", structures="some.xyz", options={"teacher.run": "joint.safetensors"})

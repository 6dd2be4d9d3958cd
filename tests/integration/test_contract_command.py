"""python -m jointkd.contract: classes, files and names, one line per property, and one line for a mistake."""

import sys

import pytest

from tests.files import isolated, molecules, saved

MODULE = '''
import torch
from jointkd.structures.batch import Prediction
from jointkd.students.basis import PolynomialEnvelope
from jointkd.training.loss import Forces


class Pairs(torch.nn.Module):
    """Every pair of atoms attracts by the product of their charges and repels."""

    conservative = True
    max_neighbors = None

    def __init__(self, cutoff: float = 5.0, elements: int = 83, tilt: float = 0.0):
        super().__init__()
        self.cutoff, self.elements, self.tilt = cutoff, elements, tilt
        self.charge = torch.nn.Parameter(torch.randn(elements))
        self.envelope = PolynomialEnvelope()

    def forward(self, positions, structure):
        source, target = structure.edge_index
        vectors = positions[source] + structure.edge_shift - positions[target]
        distances = vectors.square().sum(1).sqrt() + self.tilt * vectors[:, 0]
        charge = self.charge[structure.atomic_numbers - 1]
        pairs = ((-2 * distances).exp() - charge[source] * charge[target] * (-distances).exp()) / 2
        pairs = pairs * self.envelope(distances / self.cutoff)
        return Prediction(torch.zeros_like(positions[:, 0]).index_add(0, target, pairs))


class Shy(Forces):
    per_atom = False


class NotAStudent(torch.nn.Module):
    pass
'''
TURNS = "A rotation or a reflection leaves atomic energies unchanged and turns forces and Hessian rows"


@pytest.fixture(autouse=True)
def _module(tmp_path, monkeypatch):
    """A module of a user in the working directory."""
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("import no_such_package")
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("mine", "broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_class_with_arguments_is_checked_line_by_line(command):
    done = command("contract", "student=mine.Pairs", "student.cutoff=4")
    assert done.status == 0, done.err
    title, *lines, total = done.out.splitlines()
    assert title == "student=mine.Pairs (83 parameters; cutoff=4)"
    assert len(lines) == 23
    assert any(line.startswith(f"  passed          {TURNS} (") for line in lines)
    assert "  does not apply  Forces of a few atoms alone" in done.out
    assert total == "22 passed, 0 failed, 1 does not apply"


def test_a_property_that_fails_is_named_with_its_error_and_the_status_is_1(command):
    done = command("contract", "student=mine.Pairs", "student.tilt=0.1")
    assert done.status == 1
    (line,) = [line for line in done.out.splitlines() if TURNS in line]
    assert line.startswith("  failed          ")
    assert line.endswith(", bound 1e-10)")
    assert done.err == ""


def test_a_file_is_as_those_in_conf_and_takes_small_sizes_and_options(command, tmp_path):
    (tmp_path / "own.yaml").write_text("_target_: mine.Pairs\ncutoff: 9.0\n")
    assert "cutoff=4.0 elements=7" in command("contract", "student=own.yaml", "student.elements=7").out
    assert (
        "(7 parameters; cutoff=3.5 elements=7)"
        in command("contract", "student=own.yaml", "student.elements=7", "student.cutoff=3.5").out
    )


def test_a_term_by_class_a_method_by_name_and_a_data_set_by_name(command, tmp_path):
    done = command("contract", "term=mine.Shy", "term.norm=mae")
    assert done.status == 1
    assert done.out.count("failed  ") == 1
    assert "losses of micro-batches of different sizes average" in next(
        line for line in done.out.splitlines() if "failed  " in line
    )
    assert command("contract", "term=joint").out.endswith("\n45 passed, 0 failed, 0 does not apply\n")
    saved(tmp_path / "mine.xyz", [*molecules(6), *isolated()])
    keys = ("reader.energy_key=REF_energy", "reader.forces_key=REF_forces")
    done = command("contract", "reader=extxyz", "reader.path=mine.xyz", *keys)
    assert done.status == 0, done.out + done.err
    assert done.out.endswith("\n12 passed, 0 failed, 0 does not apply\n")


def test_a_teacher_of_an_import_path_gets_a_name_and_a_dtype(command):
    calculator = "teacher.calculator=ase.calculators.emt.EMT"
    done = command("contract", "teacher=jointkd.teachers.ase.from_calculator", calculator, "teacher.elements=[Cu]")
    assert done.status == 0, done.out + done.err
    assert done.out.startswith("teacher=jointkd.teachers.ase.from_calculator (checked, float64)\n")


def test_help_has_an_example_of_each_kind_and_the_names(command):
    done = command("contract", "--help")
    assert done.status == 0
    for word in ("student=my_module.MyStudent student.width=32", "reader=", "term=", "gemnet_dt | gemnet_t | painn"):
        assert word in done.out
    assert command("contract").out == done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["student=piann"], "there is no student=piann; did you mean painn?"),
        (["student=none.yaml"], "student=none.yaml does not exist"),
        (["student=none.Class"], "none.Class cannot be imported (ModuleNotFoundError: No module named 'none')"),
        (["student=broken.Class"], "broken.Class cannot be imported (ModuleNotFoundError: No module named 'no_such_"),
        (["student=mine.Class"], "mine.Class cannot be imported (AttributeError: module 'mine' has no attribute"),
        (["student=mine.NotAStudent"], "has no cutoff and no elements and no max_neighbors and no conservative; see"),
        (["student=mine.Pairs", "student.widht=3"], "there is no option student.widht"),
        (["student=mine.Pairs", "student.elements=x"], "student.elements=x is of the wrong type"),
        (["student=painn", "teacher=demo"], "student=painn and teacher=demo: one object is checked at a time"),
        (["student.width=3"], "no object: one object is checked at a time"),
        (["student=painn", "teacher.name=x"], "teacher.name is not an option of student=painn"),
        (["studnet=painn"], "studnet=painn names nothing that has a contract; did you mean student?"),
        (["student=painn,gemnet_t"], "student=painn,gemnet_t must be one value"),
        (["reader=extxyz"], "data.path is not set; give data.path=FILE"),
        (["reader=extxyz", "reader.path=none.xyz"], "data.path=none.xyz does not exist"),
        (["term=jointkd.training.loss.Hessian"], "cannot be built (TypeError: Hessian.__init__() missing 1 required"),
        (["term=mine.NotAStudent"], "NotAStudent"),
        (["teacher=none"], "teacher=none makes no labels"),
        (["teacher=demo", "teacher.python=/other/python"], "run /other/python -m jointkd.contract"),
    ],
)
def test_a_mistake_is_one_line(command, arguments, message):
    done = command("contract", *arguments)
    assert done.status == 1
    assert message in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""

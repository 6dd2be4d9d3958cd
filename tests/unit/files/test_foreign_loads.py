"""A package that lets `torch.load` trust all files does so for itself, and not for the rest of the process."""

import contextlib
import os
import pickle

import numpy as np
import pytest
import torch

from jointkd.files import foreign_loads as module
from jointkd.files.foreign_loads import VARIABLE, foreign_loads
from jointkd.structures.frame import Frame
from jointkd.teachers.ase import from_calculator
from jointkd.teachers.spec import TeacherSpec

PACKAGE = f"""
import os
from pathlib import Path
import torch
from ase.calculators.lj import LennardJones
os.environ["{VARIABLE}"] = "1"

class Pickled(LennardJones):
    def __init__(self, file, **options):
        self.file = file
        torch.load(file)
        super().__init__(**options)

    def calculate(self, *arguments):
        torch.load(self.file)
        super().calculate(*arguments)
"""


class Model:
    """What only a load that trusts its file reads."""


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    monkeypatch.setattr(module, "_remembered", [])
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def options(tmp_path, monkeypatch, request):
    """The options of a calculator that loads a pickle, in a package that is imported once."""
    name = f"pickled_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    torch.save(Model(), tmp_path / "model.pt")
    return {"calculator": f"{name}.Pickled", "name": "lj", "options": {"file": str(tmp_path / "model.pt")}}


@pytest.mark.filterwarnings("ignore:Environment variable TORCH")
@pytest.mark.parametrize("of_spec", [False, True])
def test_a_calculator_loads_its_own_pickle_and_a_checkpoint_is_still_refused(tmp_path, options, of_spec):
    frame = Frame(np.array([18, 18]), np.array([[0.0, 0, 0], [1.2, 0, 0]]))
    spec = TeacherSpec("jointkd.teachers.ase.from_calculator", {**options, "dtype": "float64"})
    for _ in range(2):  # the second one is not imported again
        teacher = spec.build() if of_spec else from_calculator(**options)
        (labels,) = teacher.label([frame], [np.arange(1)])
        assert labels.finite()
        assert VARIABLE not in os.environ
        with pytest.raises(pickle.UnpicklingError):
            torch.load(tmp_path / "model.pt")


def test_what_the_user_has_set_stays_also_after_an_error(monkeypatch):
    for mine in (None, "0", "1"):
        if mine is not None:
            monkeypatch.setenv(VARIABLE, mine)
        with contextlib.suppress(KeyError), foreign_loads():
            os.environ[VARIABLE] = "1"
            raise KeyError
        assert os.environ.get(VARIABLE) == mine

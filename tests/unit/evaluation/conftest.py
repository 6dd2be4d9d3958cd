"""A student's file that the tests of predictions share."""

from pathlib import Path

import pytest
import torch

from jointkd.students.painn import PaiNN
from jointkd.students.student_file import SavedStudent, save_student
from tests.files import FREE

ARGUMENTS = {"width": 8, "layers": 2, "radial": 6, "cutoff": 4.0}


@pytest.fixture(scope="session")
def student(tmp_path_factory) -> Path:
    """A small untrained student of H, C and O, whose training determined no energy of methane."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("student") / "student.safetensors"
    config = {"_target_": "jointkd.students.painn.PaiNN", **ARGUMENTS}
    save_student(path, SavedStudent(config, PaiNN(**ARGUMENTS).state_dict(), FREE, {}, ({6: 0.8, 1: 0.6, 8: 0.0},)))
    return path

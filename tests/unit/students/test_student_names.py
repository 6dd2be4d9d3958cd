"""The names by which students are told apart."""

from pathlib import Path

import pytest

from jointkd.students.student_names import distinct_names

JOINT = {"method": "joint", "seed": 0, "student": "painn"}


@pytest.mark.parametrize(
    ("paths", "origins", "names"),
    [
        (["a", "b"], [JOINT, {**JOINT, "method": "none"}], ["joint", "none"]),
        (["a", "b"], [JOINT, {**JOINT, "seed": 1}], ["joint seed 0", "joint seed 1"]),
        (["a", "b"], [JOINT, {**JOINT, "student": "gemnet_t"}], ["joint painn 0", "joint gemnet_t 0"]),
        (["x/a", "x/b"], [JOINT, JOINT], ["joint (a)", "joint (b)"]),
        (["x/a", "y/a"], [JOINT, JOINT], ["x/a", "y/a"]),
        (["imported.safetensors"], [{}], ["imported"]),
    ],
)
def test_a_student_is_called_by_the_first_that_tells_it_from_the_others(paths, origins, names):
    assert distinct_names([Path(path) for path in paths], origins) == names

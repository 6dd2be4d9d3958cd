"""Students refuse sizes out of range when they are built."""

import pytest

from jointkd.errors import ConfigError
from jointkd.students.gemnet import GemNet
from jointkd.students.painn import PaiNN

SIZES = {PaiNN: ("width", "layers", "radial", "elements", "max_neighbors")}
SIZES[GemNet] = ("width", "blocks", "radial", "spherical", "elements", "max_neighbors")


@pytest.mark.parametrize(("student", "size"), [(kind, size) for kind, sizes in SIZES.items() for size in sizes])
def test_a_student_of_no_size_is_refused(student, size):
    with pytest.raises(ConfigError, match=rf"student\.{size}=0 must be "):
        student(**{size: 0})


@pytest.mark.parametrize("student", SIZES)
@pytest.mark.parametrize(
    ("cutoff", "message"),
    [(-5, "must be a positive number in Å"), (float("nan"), "must be a positive"), (0.5, "is shorter than bonds")],
)
def test_a_cutoff_without_neighbours_is_refused(student, cutoff, message):
    with pytest.raises(ConfigError, match=rf"student\.cutoff=.* {message}"):
        student(cutoff=cutoff)


@pytest.mark.parametrize(("student", "width"), [(PaiNN, 2), (GemNet, 4)])
def test_the_smallest_width_makes_a_student(student, width):
    student(width=width)
    with pytest.raises(ConfigError, match=rf"student\.width={width - 1} must be an integer of at least {width}"):
        student(width=width - 1)

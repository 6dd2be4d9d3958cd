"""GemNet-dT and GemNet-T against the reference implementation's own numbers, imported as users import them."""

import pytest

from jointkd.students.gemnet import GemNet
from tests.fairchem import (
    CASES,
    OUTPUTS,
    agree_with_reference,
    central_differences,
    full,
    imported,
    predicted,
    reference,
    relative,
)

IDEAL = "srtio3_ideal_rc6_full"


def size_of(**arguments) -> int:
    return sum(parameter.numel() for parameter in GemNet(**arguments).parameters())


def test_the_papers_sizes_are_reproduced():
    assert size_of(conservative=False) == 672_896
    assert size_of(conservative=True) == 565_056


@pytest.mark.parametrize(
    ("width", "direct", "conservative"),
    [(32, 153_664, 126_624), (96, 1_656_000, 1_413_600), (128, 3_201_280, 2_770_560)],
)
def test_one_option_scales_the_student(width, direct, conservative):
    assert size_of(width=width) == direct
    assert size_of(width=width, conservative=True) == conservative


@pytest.fixture(scope="module", params=OUTPUTS)
def width(request):
    return request.param


@pytest.fixture(scope="module", params=["gemnet_dt", "gemnet_t"])
def given(request, width):
    return reference(request.param, width)


@pytest.mark.parametrize("case", CASES)
def test_reference_weights_give_the_reference_outputs(given, case, tmp_path):
    expected = given["cases"][case]
    student = imported(given, expected, tmp_path)
    assert student.conservative == (given["model"] == "gemnet_t")
    agree_with_reference(student, expected)


def test_the_reference_hessian_is_given_row_by_row(given, tmp_path):
    expected = given["cases"]["ethanol"]
    matrix = full(predicted(imported(given, expected, tmp_path), expected, every=True))
    assert relative(matrix, expected["hessian_full"]) < 1e-9


def test_the_hessian_of_an_ideal_crystal_is_that_of_finite_differences(given, tmp_path):
    expected = given["cases"][IDEAL]
    student = imported(given, expected, tmp_path)
    prediction = predicted(student, expected, every=True)
    matrix = full(prediction)
    assert relative(prediction.atomic_energies, expected["atom_energies"]) < 1e-9
    assert relative(matrix, central_differences(student, expected)) < 1e-6
    if student.conservative:  # the reference clamps cosines, whose derivatives then vanish where atoms are in line
        assert relative(expected["hessian_full"], matrix) > 1e-3
    else:
        assert relative(expected["hessian_full"], matrix) < 1e-9

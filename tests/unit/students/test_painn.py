"""PaiNN against the reference implementation's own numbers, imported as users import them."""

import pytest

from jointkd.students.painn import PaiNN
from tests.fairchem import (
    CASES,
    agree_with_reference,
    central_differences,
    full,
    imported,
    predicted,
    reference,
    relative,
)


def test_the_papers_size_is_reproduced():
    assert sum(parameter.numel() for parameter in PaiNN().parameters()) == 1_029_635


@pytest.mark.parametrize("smooth", [True, False])
def test_the_constant_that_cancels_with_that_of_isolated_atoms_is_not_trained(smooth):
    student = PaiNN(width=8, layers=1, radial=4, smooth=smooth)
    frozen = [name for name, parameter in student.named_parameters() if not parameter.requires_grad]
    assert frozen == (["energy_head.2.bias"] if smooth else [])


@pytest.fixture(scope="module")
def given():
    return reference("painn")


@pytest.mark.parametrize("case", CASES)
def test_reference_weights_give_the_reference_outputs(given, case, tmp_path):
    expected = given["cases"][case]
    agree_with_reference(imported(given, expected, tmp_path), expected)


def test_the_reference_hessian_is_given_row_by_row(given, tmp_path):
    expected = given["cases"]["ethanol"]
    matrix = full(predicted(imported(given, expected, tmp_path), expected, every=True))
    assert relative(matrix, expected["hessian_full"]) < 1e-9


def test_an_ideal_crystal_has_a_kink_with_reference_weights_and_none_in_the_smooth_form(given, tmp_path):
    """Symmetry makes vectors vanish, and their lengths have no derivative there."""
    expected = given["cases"]["srtio3_ideal_rc6_full"]
    kinked = imported(given, expected, tmp_path)
    matrix = full(predicted(kinked, expected, every=True))
    assert relative(matrix, expected["hessian_full"]) < 1e-9
    assert relative(matrix, central_differences(kinked, expected)) > 1e-5
    smooth = PaiNN(cutoff=kinked.cutoff, smooth=True).double().requires_grad_(False)
    smooth.load_state_dict(kinked.state_dict())
    smoothed = full(predicted(smooth, expected, every=True))
    assert relative(smoothed, central_differences(smooth, expected)) < 1e-6
    assert smoothed.abs().max() < 0.1 * matrix.abs().max()

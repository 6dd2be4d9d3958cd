"""PaiNN against the reference implementation's own numbers, imported as users import them."""

import math

import pytest
import torch

from jointkd.students.gemnet import GemNet
from jointkd.students.painn import PaiNN
from jointkd.students.student_file import read_student
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


def test_the_papers_size_is_reproduced():
    assert sum(parameter.numel() for parameter in PaiNN().parameters()) == 1_029_635


@pytest.mark.parametrize("smooth", [True, False])
def test_the_constant_that_cancels_with_that_of_isolated_atoms_is_not_trained(smooth):
    student = PaiNN(width=8, layers=1, radial=4, smooth=smooth)
    frozen = [name for name, parameter in student.named_parameters() if not parameter.requires_grad]
    assert frozen == (["energy_head.2.bias"] if smooth else [])


def test_vectors_that_vanish_have_a_length_of_a_tenth_in_the_smooth_form():
    torch.manual_seed(0)
    student = PaiNN(width=8, layers=1, radial=4).double()
    update, block = student.updates[0], student.force_head[0]
    s, nothing = torch.randn(5, 8).double(), torch.zeros(3, 5, 8).double()
    features = torch.cat([s, torch.full_like(s, 0.1)], dim=-1)
    expected = update.context(features)[:, :8] / math.sqrt(2)
    assert torch.allclose(update(s, nothing)[0], expected, rtol=1e-12)
    assert torch.allclose(update.without_vectors(s), expected, rtol=1e-12)
    assert torch.allclose(block(s, nothing)[0], block.activation(block.gate(features)[:, :4]), rtol=1e-12)


@pytest.mark.parametrize("student", [PaiNN, GemNet])
def test_embeddings_start_uniform_with_unit_variance(student):
    torch.manual_seed(0)
    weight = student(elements=118).embedding.weight
    assert float(weight.std()) == pytest.approx(1.0, abs=0.02)
    assert float(weight.mean()) == pytest.approx(0.0, abs=0.03)
    assert 1.72 < float(weight.abs().max()) <= math.sqrt(3)


@pytest.fixture(scope="module", params=OUTPUTS)
def given(request):
    return reference("painn", request.param)


@pytest.mark.parametrize("case", CASES)
def test_reference_weights_give_the_reference_outputs(given, case, tmp_path):
    expected = given["cases"][case]
    agree_with_reference(imported(given, expected, tmp_path), expected)


def test_the_reference_hessian_is_given_row_by_row(given, tmp_path):
    expected = given["cases"]["ethanol"]
    matrix = full(predicted(imported(given, expected, tmp_path), expected, every=True))
    assert relative(matrix, expected["hessian_full"]) < 1e-9


def test_an_ideal_crystal_has_a_kink_with_reference_weights_and_none_in_the_smooth_form(tmp_path):
    """Symmetry makes vectors vanish, and their lengths have no derivative there."""
    given = reference("painn", "full")  # the kink of the small one is hardly larger than errors of differences
    expected = given["cases"]["srtio3_ideal_rc6_full"]
    kinked = imported(given, expected, tmp_path)
    matrix = full(predicted(kinked, expected, every=True))
    assert relative(matrix, expected["hessian_full"]) < 1e-9
    assert relative(matrix, central_differences(kinked, expected)) > 1e-5
    arguments = read_student(tmp_path / "student.safetensors").config | {"smooth": True}
    smooth = PaiNN(**{name: value for name, value in arguments.items() if name != "_target_"})
    smooth.double().requires_grad_(False)
    smooth.load_state_dict(kinked.state_dict())
    smoothed = full(predicted(smooth, expected, every=True))
    assert relative(smoothed, central_differences(smooth, expected)) < 1e-6
    assert smoothed.abs().max() < 0.1 * matrix.abs().max()

"""Radial functions, spherical harmonics and layers against their formulas."""

import numpy as np
import pytest
import torch
from scipy.special import eval_legendre, sph_harm_y

from jointkd.students.basis import GaussianBasis, LayerNorm, PolynomialEnvelope, SphericalHarmonics, length

POLES_AND_AXES = np.concatenate([np.eye(3), -np.eye(3)])
DEGREES = 7


def test_the_envelope_falls_from_one_to_zero_with_two_flat_derivatives():
    envelope = PolynomialEnvelope(5)
    x = torch.tensor([0.0, 0.5, 1.0, 1.5], dtype=torch.float64)
    expected = 1 - 21 * x**5 + 35 * x**6 - 15 * x**7
    assert torch.allclose(envelope(x)[:3], expected[:3], atol=1e-14)
    assert envelope(x)[3] == 0
    near = torch.tensor(1.0 - 1e-9, dtype=torch.float64)
    first = torch.func.grad(envelope)
    assert abs(float(first(near))) < 1e-12
    assert abs(float(torch.func.grad(first)(near))) < 1e-6


def test_gaussians_are_as_wide_as_they_are_apart():
    values = GaussianBasis(5)(torch.tensor([0.5]))
    spacings = torch.tensor([2.0, 1.0, 0.0, 1.0, 2.0])
    assert torch.allclose(values[0], torch.exp(-0.5 * spacings**2))


def test_the_length_of_a_zero_vector_has_zero_derivatives():
    zero = torch.zeros(3, dtype=torch.float64)
    gradient = torch.func.grad(lambda v: length(v, 0))
    assert not gradient(zero).any()
    assert not torch.func.jacrev(gradient)(zero).any()


def test_a_softened_length_is_smooth_at_zero():
    zero = torch.zeros(3, dtype=torch.float64)
    curvature = torch.func.hessian(lambda v: length(v, 0, 0.1))(zero)
    assert torch.allclose(curvature, 10 * torch.eye(3, dtype=torch.float64))


def test_layer_normalisation_is_torchs_and_has_a_right_third_derivative():
    torch.manual_seed(0)
    norm = LayerNorm(8).double()
    torch.nn.init.normal_(norm.weight)
    x, mix, scale = torch.randn(4, 8).double(), torch.randn(8, 8).double(), torch.randn(8).double()
    assert torch.allclose(norm(x), torch.nn.functional.layer_norm(x, (8,), norm.weight, norm.bias), atol=1e-13)

    def curvature(scale: torch.Tensor) -> torch.Tensor:
        gradient = torch.func.grad(lambda x: norm((x @ mix) * scale).pow(3).sum())
        return torch.func.jvp(gradient, (x,), (torch.ones_like(x),))[1].square().mean()

    direction, step = torch.randn(8).double(), 1e-5
    expected = (curvature(scale + step * direction) - curvature(scale - step * direction)) / (2 * step)
    found = torch.func.grad(curvature)(scale) @ direction
    assert abs(float((found - expected).detach())) < 1e-6 * abs(float(expected.detach()))


def directions() -> np.ndarray:
    """The poles, the other axes and some random unit vectors [E, 3]."""
    vectors = np.concatenate([POLES_AND_AXES, np.random.default_rng(0).normal(size=(10, 3))])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("degree", range(DEGREES))
def test_spherical_harmonics_are_the_real_combinations_of_scipys(degree):
    found = SphericalHarmonics(DEGREES)(torch.from_numpy(directions()))[:, degree**2 : (degree + 1) ** 2].numpy()
    x, y, z = directions().T
    orders = np.arange(degree + 1)
    values = sph_harm_y(degree, orders, np.arccos(z)[:, None], np.arctan2(y, x)[:, None])
    values = values * (-1.0) ** orders * np.where(orders, np.sqrt(2), 1)  # without the sign of Condon and Shortley
    expected = np.concatenate([values.real, values.imag[:, 1:]], axis=1) * (4 * np.pi / (2 * degree + 1)) ** 0.25
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_products_of_spherical_harmonics_add_up_to_legendre_polynomials():
    u = directions()
    harmonics = SphericalHarmonics(DEGREES)(torch.from_numpy(u)).numpy()
    degree = np.arange(DEGREES)
    products = np.split(harmonics[:, None] * harmonics, degree[1:] ** 2, axis=2)
    found = np.stack([each.sum(2) for each in products], axis=2)
    expected = np.sqrt((2 * degree + 1) / (4 * np.pi)) * eval_legendre(degree, (u @ u.T)[:, :, None])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_spherical_harmonics_are_smooth_at_the_poles():
    pole = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(SphericalHarmonics(DEGREES), (pole,))
    assert torch.autograd.gradgradcheck(SphericalHarmonics(DEGREES), (pole,))


def test_no_directions_have_no_spherical_harmonics():
    assert SphericalHarmonics(4)(torch.zeros(0, 3)).shape == (0, 16)

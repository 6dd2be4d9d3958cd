"""Radial functions against their formulas."""

import torch

from jointkd.students.basis import GaussianBasis, LayerNorm, PolynomialEnvelope, length


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

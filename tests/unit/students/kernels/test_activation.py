"""The activation against its formula, with derivatives of every order that training takes."""

import pytest
import torch
from torch import Tensor

from jointkd.students.derivatives import predict
from jointkd.students.kernels import activation as module
from jointkd.students.kernels.activation import Derivative, ScaledSiLU
from jointkd.students.painn import PaiNN
from tests.structures import WATER, batch_of

POINTS = torch.linspace(-8, 8, 33, dtype=torch.float64)
activation = ScaledSiLU()


@pytest.fixture(params=[0, 2**17], ids=["own function", "torch's function"], autouse=True)
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways that an input may go, by its size."""
    monkeypatch.setattr(module, "SMALL", request.param)


def formula(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x) / 0.6


def derivatives(function, x: Tensor, highest: int) -> list[Tensor]:
    """f, f', … at every x."""
    x = x.clone().requires_grad_()
    values = [function(x)]
    for _ in range(highest):
        values.append(torch.autograd.grad(values[-1].sum(), x, create_graph=True)[0])
    return [value.detach() for value in values]


def test_every_derivative_up_to_the_fourth_is_that_of_the_formula():
    for found, expected in zip(derivatives(activation, POINTS, 4), derivatives(formula, POINTS, 4), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_derivatives_stay_finite_far_from_zero():
    far = torch.tensor([-1e4, -200.0, 200.0, 1e4])
    value, slope, *higher = derivatives(activation, far, 4)
    assert torch.allclose(value, far.clamp_min(0) / 0.6)
    assert torch.allclose(slope, (far > 0).float() / 0.6)
    assert not torch.stack(higher).any()


@pytest.mark.parametrize("order", [0, 1, 2])
def test_derivatives_with_a_factor_have_right_first_and_second_derivatives(order):
    generator = torch.Generator().manual_seed(0)
    x, factor = (torch.randn(2, 3, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))

    def function(x: Tensor, factor: Tensor) -> Tensor:
        return Derivative.apply(x, factor, order)

    assert torch.autograd.gradcheck(function, (x, factor), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, (x, factor), check_fwd_over_rev=True)


def test_directional_derivatives_of_gradients_are_those_of_the_formula():
    def curvature(function) -> Tensor:
        def gradient(x: Tensor) -> Tensor:
            return torch.func.grad(lambda x: function(x).square().sum())(x)

        return torch.func.jvp(gradient, (POINTS,), (torch.ones_like(POINTS),))[1]

    torch.testing.assert_close(curvature(activation), curvature(formula), rtol=1e-10, atol=1e-12)


def test_derivatives_may_be_vectorised():
    matrix = torch.func.vmap(torch.func.grad(torch.func.grad(activation)))(POINTS)
    torch.testing.assert_close(matrix, derivatives(formula, POINTS, 2)[2], rtol=1e-10, atol=1e-12)
    pullback = torch.func.vjp(torch.func.grad(lambda x: activation(x).square().sum()), POINTS)[1]
    cotangents = torch.randn(3, len(POINTS), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.stack([pullback(each)[0] for each in cotangents])
    torch.testing.assert_close(torch.func.vmap(pullback)(cotangents)[0], expected)


def test_an_input_is_never_changed():
    x, factor = POINTS.clone(), torch.ones_like(POINTS)
    for order in range(4):
        Derivative.apply(x, factor, order)
    Derivative.apply(x, None, 0)
    assert torch.equal(x, POINTS)
    assert torch.equal(factor, torch.ones_like(POINTS))


def test_the_hessian_loss_of_a_student_has_the_same_gradients_by_both_functions(monkeypatch):
    torch.manual_seed(0)
    student, slopes = PaiNN(width=8, layers=2, radial=4, cutoff=4.0, conservative=True).double(), []
    for size in (0, 2**17):
        monkeypatch.setattr(module, "SMALL", size)
        rows = predict(student, batch_of(WATER), torch.tensor([[0, 4]])).hessian_rows
        slopes.append(torch.autograd.grad(rows.square().sum(), list(student.parameters()), materialize_grads=True))
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-12)

"""The activation of all students, with derivatives of any order that keep little memory."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

SMALL = 2**17
GAIN = 1 / 0.6  # keeps the variance of a normal input; source: GemNet


class ScaledSiLU(nn.Module):
    """x σ(x) / 0.6."""

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() <= SMALL:  # where calls cost more than memory
            return nn.functional.silu(x) * GAIN
        result: Tensor = Derivative.apply(x, None, 0)
        return result


class Derivative(torch.autograd.Function):
    """factor · f⁽ᵏ⁾(x) of f(x) = x σ(x) / 0.6; factor None is one, and only for k = 0.

    Its derivatives are of the same kind, so every order keeps no more than its inputs and makes no intermediate
    that stays, where autograd's own second derivative of SiLU keeps ten.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, factor: Tensor | None, order: int) -> Tensor:
        if order == 0:
            value = nn.functional.silu(x).mul_(GAIN)
            return value if factor is None else value * factor
        assert factor is not None
        if order == 1:
            return torch.ops.aten.silu_backward(factor, x).mul_(GAIN)
        return evaluate(x, order) * factor

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, factor, ctx.order = inputs
        ctx.save_for_backward(x, factor)
        ctx.save_for_forward(x, factor)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, factor = ctx.saved_tensors
        of_x = of_factor = None
        if ctx.needs_input_grad[0]:
            of_x = Derivative.apply(x, cotangent if factor is None else cotangent * factor, ctx.order + 1)
        if ctx.needs_input_grad[1]:
            of_factor = Derivative.apply(x, cotangent, ctx.order)
        return of_x, of_factor, None

    @staticmethod
    def jvp(ctx: Any, of_x: Tensor | None, of_factor: Tensor | None, _: None) -> Tensor:
        x, factor = ctx.saved_tensors
        tangent = torch.zeros_like(x)
        if of_x is not None:
            tangent = tangent + Derivative.apply(x, of_x if factor is None else of_x * factor, ctx.order + 1)
        if of_factor is not None:
            tangent = tangent + Derivative.apply(x, of_factor, ctx.order)
        return tangent


def evaluate(x: Tensor, order: int) -> Tensor:
    """f⁽ᵏ⁾ = (x σ⁽ᵏ⁾ + k σ⁽ᵏ⁻¹⁾) / 0.6 for k > 1, by polynomials in σ of which σ' is a factor."""
    sigma = torch.sigmoid(x)
    value = polynomial(sigma, order).mul_(x)
    if order == 2:
        value.add_(2 * GAIN)
    else:
        value.add_(polynomial(sigma, order - 1), alpha=order)
    return torch.ops.aten.sigmoid_backward(value, sigma)


def polynomial(sigma: Tensor, order: int) -> Tensor:
    """σ⁽ᵏ⁾(x) / σ'(x) / 0.6 from σ(x), k > 1."""
    *lower, highest = coefficients(order)
    value = sigma * (highest * GAIN)
    for coefficient in reversed(lower[1:]):
        value.add_(coefficient * GAIN).mul_(sigma)
    return value.add_(lower[0] * GAIN)


@cache
def coefficients(order: int) -> tuple[float, ...]:
    """Of σ⁽ᵏ⁾ / σ' as a polynomial q in σ, lowest power first. σ' = σ - σ², so the next is (1 - 2σ) q + (σ - σ²) q'."""
    if order == 1:
        return (1.0,)
    lower = coefficients(order - 1)
    result = [0.0] * (len(lower) + 1)
    for power, value in enumerate(lower):
        result[power] += (1 + power) * value
        result[power + 1] -= (2 + power) * value
    return tuple(result)

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
    """factor · f⁽ᵏ⁾(x) of f(x) = x σ(x) / 0.6; factor None is one.

    Its derivatives are of the same kind, so every order keeps no more than its inputs and makes no intermediate
    that stays, where autograd's own second derivative of SiLU keeps ten.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, factor: Tensor | None, order: int) -> Tensor:
        if order == 0:
            value = nn.functional.silu(x).mul_(GAIN)
        elif order == 1 and factor is not None:
            return torch.ops.aten.silu_backward(factor, x).mul_(GAIN)
        else:
            value = evaluate(x, order)
        return value if factor is None else value * factor

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
    """f⁽ᵏ⁾ = (x σ⁽ᵏ⁾ + k σ⁽ᵏ⁻¹⁾) / 0.6, by polynomials in σ."""
    sigma = torch.sigmoid(x)
    return polynomial(sigma, order).mul_(x).add_(polynomial(sigma, order - 1), alpha=order).mul_(GAIN)


def polynomial(sigma: Tensor, order: int) -> Tensor:
    """σ⁽ᵏ⁾(x) from σ(x)."""
    *lower, highest = coefficients(order)
    value = torch.full_like(sigma, highest)
    for coefficient in reversed(lower):
        value.mul_(sigma).add_(coefficient)
    return value


@cache
def coefficients(order: int) -> tuple[float, ...]:
    """Of σ⁽ᵏ⁾ as a polynomial in σ, lowest power first. σ' = σ - σ²."""
    if order == 0:
        return (0.0, 1.0)
    lower = coefficients(order - 1)
    slope = [power * value for power, value in enumerate(lower)][1:]
    times = [0.0, *slope, 0.0]  # · σ
    for power, value in enumerate(slope):
        times[power + 2] -= value  # · -σ²
    return tuple(times)

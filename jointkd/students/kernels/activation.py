"""The scaled SiLU with derivatives of any order that keep little memory.

Autograd's own second derivative of SiLU keeps ten intermediates; here each derivative keeps its operands.
"""

from functools import cache

import torch
from torch import Tensor

from jointkd.students.kernels.contraction import Operands, contract

GAIN = 1 / 0.6
FACTOR, RESULT = 0, 1  # L = Σ factor · f⁽ᵏ⁾(x) · result, of f(x) = x σ(x) / 0.6


class Activation:
    """The `Kernel` of f and its derivatives."""

    def contract(self, missing: int, order: int, x: Tensor | None, operands: Operands) -> Tensor:
        factor = operands[1 - missing]
        assert x is not None
        if order == 0:
            value = torch.nn.functional.silu(x).mul_(GAIN)
            return value if factor is None else value.mul_(factor)
        assert factor is not None
        if order == 1:
            return torch.ops.aten.silu_backward(factor, x).mul_(GAIN)
        return derivative(x, order).mul_(factor)

    def fresh(self) -> "Activation":
        return self


ACTIVATION = Activation()


def scaled_silu(x: Tensor) -> Tensor:
    """x σ(x) / 0.6."""
    return contract(ACTIVATION, RESULT, (None, None), x)


def derivative(x: Tensor, order: int) -> Tensor:
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

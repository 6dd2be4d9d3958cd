"""Derivatives of any order of functions that are linear in each of their operands, without stored intermediates.

Let L(x; a, b, c) be a sum of products, linear in each operand a, b, c, such as Σ_ij a_i b_ij c_j; a kernel computes the
gradient of L with respect to one operand from the others ("contracts all but one"). The gradient of that result is
another contraction of the same L, with the cotangent in the place of the missing operand. So one function serves every
order of derivative and keeps only its operands. Where L also depends on an x per entry of the operand a, through a
function φ(x), the derivative with respect to x is the same contraction with φ′ instead of φ.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

HALF = torch.bfloat16
Operands = Sequence[Any]  # tensors or None


class Kernel(Protocol):
    """A function L that can be contracted."""

    def contract(self, missing: int, order: int, x: Tensor | None, operands: Operands) -> Tensor:
        """∂L/∂operand number `missing`, which is None, with the derivative of this order of φ(x).

        Another operand that is None counts as one.
        """

    def fresh(self) -> "Kernel":
        """This kernel for another x."""


def contract(kernel: Kernel, missing: int, operands: Operands, x: Tensor | None = None, order: int = 0) -> Tensor:
    """`Kernel.contract`, differentiable with respect to x and all operands; the missing one is ignored.

    In mixed precision, operands are taken in single precision, because sums over many edges need it.
    """
    if torch.is_autocast_enabled("cpu"):
        operands = [operand if operand is None or operand.dtype != HALF else operand.float() for operand in operands]
    given = (None if number == missing else operand for number, operand in enumerate(operands))
    result: Tensor = Contraction.apply(kernel, missing, order, x, *given)
    return result


class Contraction(torch.autograd.Function):
    """Differentiable form of `Kernel.contract`; the kernel is opaque to torch.func, which takes tuples apart."""

    @staticmethod
    def forward(kernel: Kernel, missing: int, order: int, x: Tensor | None, *operands: Tensor | None) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return kernel.contract(missing, order, x, operands)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.kernel, ctx.missing, ctx.order, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Any, ...]:
        x, *operands = ctx.saved_tensors
        operands[ctx.missing] = cotangent
        of_x = None
        if ctx.needs_input_grad[3]:
            of_x = times(operands[0], contract(ctx.kernel, 0, operands, x, ctx.order + 1))
        of_operands = (
            contract(ctx.kernel, number, operands, x, ctx.order) if needed else None
            for number, needed in enumerate(ctx.needs_input_grad[4:])
        )
        return None, None, None, of_x, *of_operands

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        x, *operands = ctx.saved_tensors
        kernel, missing, order, terms = ctx.kernel, ctx.missing, ctx.order, []
        if tangents[3] is not None:  # φ(x) multiplies operand 0, so a change of x changes that
            along = times(operands[0], tangents[3])
            term = contract(kernel, missing, [along, *operands[1:]], x, order + 1)
            terms.append(term * along if missing == 0 else term)
        for number, tangent in enumerate(tangents[4:]):
            if tangent is not None:
                moved = [*operands[:number], tangent, *operands[number + 1 :]]
                terms.append(contract(kernel, missing, moved, x, order))
        return torch.stack(terms).sum(0)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], kernel: Kernel, *inputs: Any) -> tuple[Tensor, int]:
        results = [
            Contraction.apply(
                kernel.fresh(),
                *(a.select(dim, k) if isinstance(dim, int) else a for a, dim in zip(inputs, in_dims[1:], strict=True)),
            )
            for k in range(info.batch_size)
        ]
        return torch.stack(results), 0


def times(factor: Tensor | None, x: Tensor) -> Tensor:
    """The product, where no factor is one."""
    return x if factor is None else factor * x

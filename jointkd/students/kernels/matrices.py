"""Products of matrices on a processor, with derivatives of any order.

torch multiplies float32 matrices by MKL, which uses the widest vectors of its own maker's processors only. oneDNN,
which torch has for its compiler, uses them on all: on an AMD EPYC with AVX-512 it is two and a half times as fast.

The form Σ_ijk a_ij b_jk c_ik is linear in a, b and c: every derivative of a product is again this form, summed onto the
place that is left out. Matrices of several sizes are taken from where they lie (`Batches`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

SMALL = 2**22  # multiplications of a product, below which a call costs more than it saves
PLACES = ("a", "b", "c")  # [..., I, J], [..., J, K], [..., I, K]
Given = Sequence[Any]  # a tensor or None, by place


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., J], weight [K, J] and bias [K] → [..., K]."""
    if not is_large(x, len(weight)):
        return nn.functional.linear(x, weight, bias)
    product = onto("c", (x.flatten(0, -2), weight.T, None)).unflatten(0, x.shape[:-1])
    return product if bias is None else product + bias


class Linear(nn.Linear):
    """A linear map whose matrix product is `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def batched(a: Tensor, b: Tensor) -> Tensor:
    """a [B, I, J] and b [B, J, K] → [B, I, K]."""
    return onto("c", (a, b, None)) if is_large(a, b.shape[-1]) else a @ b


def is_large(a: Tensor, width: int) -> bool:
    """Whether a product goes another way than torch's own, which alone knows mixed precision."""
    return a.device.type == "cpu" and a.numel() * width >= SMALL and not torch.is_autocast_enabled("cpu")


Lay = tuple[tuple[int, ...], tuple[int, ...], int]  # sizes, strides and offset


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches of matrices of several sizes that lie in the tensors at a, b and c. The form is summed over all.

    No tuple, which torch.func would take apart for every product.
    """

    shapes: dict[str, tuple[int, ...]]  # of the three tensors
    parts: list[dict[str, Lay]]  # of each batch, by place

    def of(self, place: str, x: Tensor) -> list[Tensor]:
        """The batches [B, rows, columns] in the contiguous tensor x at a place."""
        return [
            x.as_strided(size, stride, x.storage_offset() + offset)
            for size, stride, offset in (part[place] for part in self.parts)
        ]


class Form(torch.autograd.Function):
    """The form summed onto a place; what is given there is None."""

    @staticmethod
    def forward(batches: Batches | None, to: str, *given: Tensor | None) -> Tensor:
        return value(to, given, batches)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.batches, ctx.to, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Any, ...]:
        every = [cotangent if x is None else x for x in ctx.saved_tensors]
        wanted = zip(PLACES, ctx.needs_input_grad[2:], strict=True)
        return None, None, *(onto(place, every, ctx.batches) if needed else None for place, needed in wanted)

    @staticmethod
    def jvp(ctx: Any, _: None, __: None, *tangents: Tensor | None) -> Tensor:
        given = ctx.saved_tensors
        moved = [[*given[:n], x, *given[n + 1 :]] for n, x in enumerate(tangents) if x is not None]
        return torch.stack([onto(ctx.to, operands, ctx.batches) for operands in moved]).sum(0)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], batches: Batches | None, to: str, *given: Tensor | None
    ) -> tuple[Tensor, int]:
        dims = list(zip(given, in_dims[2:], strict=True))
        results = [
            Form.apply(batches, to, *(x.select(dim, k) if x is not None and dim is not None else x for x, dim in dims))
            for k in range(info.batch_size)
        ]
        return torch.stack(results), 0


def onto(to: str, every: Given, batches: Batches | None = None) -> Tensor:
    """The form of all but what is at the place `to`, to be differentiated."""
    given = (None if place == to else x for place, x in zip(PLACES, every, strict=True))
    result: Tensor = Form.apply(batches, to, *given)
    return result


def value(to: str, given: Given, batches: Batches | None = None) -> Tensor:
    """The form summed onto a place, not to be differentiated."""
    if batches is not None:
        return in_batches(batches, to, given)
    x, y = factors(to, *given)
    if x.dim() == 3:
        return torch.bmm(x, y)
    if x.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return x @ y
    if to == "b" and len(x) > y.shape[1]:  # a sum over the many rows of a and c, of which the narrower is to come first
        return times_transposed(y.T, x).T
    return times_transposed(x, y.T)


def in_batches(batches: Batches, to: str, given: Given) -> Tensor:
    known = {place: x.contiguous() for place, x in zip(PLACES, given, strict=True) if x is not None}
    result = next(iter(known.values())).new_empty(batches.shapes[to])
    operands = {place: batches.of(place, x) for place, x in known.items()}
    with torch.autocast(result.device.type, enabled=False):
        for number, part in enumerate(batches.of(to, result)):
            x, y = factors(to, *(operands[place][number] if place in operands else None for place in PLACES))
            if part.is_contiguous():
                torch.bmm(x, y, out=part)
            else:  # into which torch multiplies matrix by matrix
                part.copy_(torch.bmm(x, y))
    return result


def factors(to: str, a: Any, b: Any, c: Any) -> tuple[Tensor, Tensor]:
    """What is multiplied."""
    return (c, b.mT) if to == "a" else (a.mT, c) if to == "b" else (a, b)


def times_transposed(x: Tensor, y: Tensor) -> Tensor:
    """x yᵀ by oneDNN, which is a hundred times slower where lines of a matrix do not follow each other in memory."""
    x, y = (matrix if matrix.is_contiguous() or matrix.T.is_contiguous() else matrix.contiguous() for matrix in (x, y))
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, y, None, "none", [], "")
    return result

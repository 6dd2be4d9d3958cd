"""The symmetric contraction of MACE, with precomputed derivatives for many Hessian rows of one structure.

A symmetric contraction is a polynomial of the features of one atom. Its first and second derivatives are computed once
per structure; they are small matrices, with which each Hessian row is multiplied.
Source: Batatia et al., NeurIPS 2022, eq. 10 and 11.
"""

from itertools import permutations
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = {"cpu": 2**22, "cuda": 2**28}  # numbers in the second derivatives of a tile of atoms


class SymmetricContraction(torch.nn.Module):
    """Features [N, C, I] and one-hot elements [N, Z] → products up to third order, [N, C · O].

    The coefficients of an element are computed when it first occurs.
    """

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.original = original
        self._coefficients_of: dict[int, Coefficients] = {}

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        elements = y.argmax(1)
        groups = []
        for element in elements.unique().tolist():
            coefficients = self._coefficients(int(element))
            atoms = torch.nonzero(elements == element).squeeze(1)
            groups += [(tile, coefficients) for tile in atoms.split(coefficients.atoms_per_tile)]
        values = Polynomial.apply(x, groups)  # [N, C, O]
        widths = [outputs_of(part) for part in self.original.contractions]
        return torch.cat([part.flatten(1) for part in values.split(widths, dim=2)], dim=1)

    def _coefficients(self, element: int) -> "Coefficients":
        if element not in self._coefficients_of:
            self._coefficients_of[element] = Coefficients(self.original.contractions, element)
        return self._coefficients_of[element]


def outputs_of(part: Any) -> int:
    """Number of components, 2 l + 1, of a part of the products."""
    linear = part.U_tensors(1)
    return int(linear.shape[0]) if linear.ndim == 3 else 1


class Coefficients:
    """Coefficients of the polynomials of one element, symmetric in their inputs.

    first [C, O, I], second [C, O, I, I], third [C, I, O · P], with the P = I (I + 1) / 2 pairs of inputs i ≤ j.
    """

    def __init__(self, contractions: Any, element: int) -> None:
        orders: list[list[Tensor]] = [[], [], []]
        with torch.no_grad():
            for part in contractions:
                weights = [part.weights_max, *part.weights]  # from the highest order down to the first
                for order, coefficients in enumerate(orders, start=1):
                    coefficients.append(self._order(part, order, weights, element))
        first, second, third = (torch.cat(coefficients, dim=1) for coefficients in orders)
        channels, self.outputs, inputs = first.shape
        self.first = first
        self.second = (second + second.transpose(2, 3)) / 2
        pairs = torch.triu_indices(inputs, inputs, device=first.device)
        self.unpack = torch.empty(inputs, inputs, dtype=torch.long, device=first.device)
        numbered = torch.arange(pairs.shape[1], device=first.device)
        self.unpack[pairs[0], pairs[1]] = self.unpack[pairs[1], pairs[0]] = numbered
        self.unpack = self.unpack.flatten()
        self.third = third[:, :, pairs[0], pairs[1]].permute(0, 3, 1, 2).flatten(2).contiguous()
        numbers = TILE.get(first.device.type, TILE["cuda"])
        self.atoms_per_tile = max(1, numbers // (channels * self.outputs * inputs**2))

    @staticmethod
    def _order(part: Any, order: int, weights: list[Tensor], element: int) -> Tensor:
        """[C, O, I, …] the coefficients of one order; those of third order are symmetrised here."""
        outputs, inputs = outputs_of(part), part.U_tensors(1).shape[-2]
        if order > part.correlation:
            return weights[0].new_zeros(weights[0].shape[-1], outputs, *[inputs] * order)
        u = part.U_tensors(order).reshape(outputs, *[inputs] * order, -1)
        if order == 3:
            permuted = [u.permute(0, *(1 + axis for axis in axes), 4) for axes in permutations(range(3))]
            u = sum(permuted) / len(permuted)
        weight = weights[part.correlation - order][element]
        return torch.tensordot(weight, u, dims=([0], [u.ndim - 1]))

    def curvature(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The quadratic forms third · x and second, [C, n, O, I, I] each, at x [C, n, I]."""
        packed = torch.bmm(x, self.third).view(*x.shape[:2], self.outputs, -1)
        return packed[..., self.unpack].view(*packed.shape[:3], x.shape[2], x.shape[2]), self.second[:, None]


class Polynomial(torch.autograd.Function):
    """Values of the polynomials, x [N, C, I] → [N, C, O]. Their first derivatives are computed with them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: list[tuple[Tensor, Coefficients]]) -> Tensor:
        outputs = groups[0][1].outputs
        values = x.new_empty(*x.shape[:2], outputs)
        slopes = x.new_empty(*x.shape[:2], outputs, x.shape[2])  # derivatives with respect to x
        for atoms, coefficients in groups:
            at = x[atoms].transpose(0, 1)
            third, second = coefficients.curvature(at)
            vector = at[:, :, None, :, None]
            cubic, square = (third @ vector).squeeze(-1), (second @ vector).squeeze(-1)
            first = coefficients.first[:, None]
            values[atoms] = ((cubic + square + first) * at[:, :, None]).sum(-1).transpose(0, 1)
            slopes[atoms] = (3 * cubic + 2 * square + first).transpose(0, 1)
        ctx.save_for_backward(x, slopes)
        ctx.groups = groups
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, slopes = ctx.saved_tensors
        if torch.is_grad_enabled():
            return PolynomialGradient.apply(x, gradient, slopes, ctx.groups), None
        return (gradient[..., None] * slopes).sum(2), None


class PolynomialGradient(torch.autograd.Function):
    """Gradient with respect to the values [N, C, O] → gradient with respect to x [N, C, I].

    The second derivatives, weighted by the gradient, are computed once; a backward pass is then a matrix product.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gradient: Tensor, slopes: Tensor, groups: Any) -> Tensor:
        curvature = x.new_empty(*x.shape, x.shape[2])  # second derivatives, weighted by `gradient`
        for atoms, coefficients in groups:
            third, second = coefficients.curvature(x[atoms].transpose(0, 1))
            weight = gradient[atoms].transpose(0, 1)[..., None, None]
            curvature[atoms] = ((6 * third + 2 * second) * weight).sum(2).transpose(0, 1)
        ctx.save_for_backward(slopes, curvature)
        return (gradient[..., None] * slopes).sum(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, Tensor, None, None]:
        slopes, curvature = ctx.saved_tensors
        return (
            (curvature @ cotangent[..., None]).squeeze(-1),
            (slopes @ cotangent[..., None]).squeeze(-1),
            None,
            None,
        )

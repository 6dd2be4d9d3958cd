"""The two dear parts of a MACE, written for many Hessian rows of one structure: less time, and bounded memory.

Both take the place of modules of mace-torch, compute the same function, and may be differentiated twice, which is what
forces and rows of a Hessian need.

- A symmetric contraction is a polynomial in the features of one atom. Its first and second derivatives are computed
  once for a structure, and are then small matrices that each row multiplies with.
- A convolution multiplies features over edges. It goes through the edges in tiles and keeps its operands alone; what a
  derivative needs besides, it computes again.

Source of both: Batatia et al., NeurIPS 2022, eq. 8, 10 and 11.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

HIGHEST_ORDER = 3  # of the products of features; all published models have 3
TILE = {
    "cpu": 2**19,
    "cuda": 2**25,
}  # numbers of a convolution's messages in a tile: what a cache holds, or a GPU needs
CURVATURES = 8  # tiles of second derivatives of polynomials at once; few, because coefficients are read for each


def exchange(module: Any) -> None:
    """Put these parts into a MACE module, wherever they compute what is there."""
    from e3nn.o3 import TensorProduct
    from mace.modules.symmetric_contraction import SymmetricContraction

    for interaction in module.interactions:
        if isinstance(interaction.conv_tp, TensorProduct) and not hasattr(interaction, "conv_fusion"):
            interaction.conv_tp = Convolution(interaction.conv_tp)
            interaction.conv_fusion = True  # mace-torch then gives it the graph, and expects sums over edges
    for product in module.products:
        contraction: Any = product.symmetric_contractions
        if isinstance(contraction, SymmetricContraction):
            parts: Any = contraction.contractions
            if all(part.correlation <= HIGHEST_ORDER for part in parts):
                product.symmetric_contractions = Contraction(contraction)


class Contraction(torch.nn.Module):
    """Features [N, C, I] and one-hot elements [N, Z] → products up to third order, [N, C · O].

    Coefficients of an element are made when it is first met, and kept.
    """

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.original = original
        self._made: dict[int, Coefficients] = {}

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        elements = y.argmax(1)
        groups = []
        for element in elements.unique().tolist():
            coefficients = self._coefficients(int(element))
            atoms = torch.nonzero(elements == element).squeeze(1)
            groups += [(some, coefficients) for some in atoms.split(coefficients.at_once)]
        values = Polynomial.apply(x, groups)  # [N, C, O]
        widths = [outputs_of(part) for part in self.original.contractions]
        return torch.cat([part.flatten(1) for part in values.split(widths, dim=2)], dim=1)

    def _coefficients(self, element: int) -> "Coefficients":
        if element not in self._made:
            self._made[element] = Coefficients(self.original.contractions, element)
        return self._made[element]


def outputs_of(part: Any) -> int:
    """How many components a part of the products has: 2 l + 1."""
    linear = part.U_tensors(1)
    return int(linear.shape[0]) if linear.ndim == 3 else 1


class Coefficients:
    """Of the polynomials of one element, symmetric in their inputs; P = I (I + 1) / 2 pairs of inputs i ≤ j.

    first [C, O, I], second [C, O, I, I], third [C, I, O · P].
    """

    def __init__(self, contractions: Any, element: int) -> None:
        orders: list[list[Tensor]] = [[], [], []]
        with torch.no_grad():
            for part in contractions:
                weights = [part.weights_max, *part.weights]  # of the highest order, down to the first
                for order, found in enumerate(orders, start=1):
                    found.append(self._order(part, order, weights, element))
        first, second, third = (torch.cat(found, dim=1) for found in orders)
        channels, self.outputs, inputs = first.shape
        self.first = first
        self.second = (second + second.transpose(2, 3)) / 2
        pairs = torch.triu_indices(inputs, inputs, device=first.device)
        self.unpack = torch.empty(inputs, inputs, dtype=torch.long, device=first.device)
        numbered = torch.arange(pairs.shape[1], device=first.device)
        self.unpack[pairs[0], pairs[1]] = self.unpack[pairs[1], pairs[0]] = numbered
        self.unpack = self.unpack.flatten()
        self.third = third[:, :, pairs[0], pairs[1]].permute(0, 3, 1, 2).flatten(2).contiguous()
        numbers = CURVATURES * TILE.get(first.device.type, TILE["cuda"])
        self.at_once = max(1, numbers // (channels * self.outputs * inputs**2))  # atoms

    @staticmethod
    def _order(part: Any, order: int, weights: list[Tensor], element: int) -> Tensor:
        """[C, O, I, …] the coefficients of one order; the third is made symmetric here, while it is small."""
        outputs, inputs = outputs_of(part), part.U_tensors(1).shape[-2]
        if order > part.correlation:
            return weights[0].new_zeros(weights[0].shape[-1], outputs, *[inputs] * order)
        u = part.U_tensors(order).reshape(outputs, *[inputs] * order, -1)
        if order == 3:
            turns = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
            u = sum(u.permute(0, *(1 + axis for axis in turn), 4) for turn in turns) / len(turns)
        weight = weights[part.correlation - order][element]
        return torch.tensordot(weight, u, dims=([0], [u.ndim - 1]))

    def curvature(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [C, n, I] → third · x and second, [C, n, O, I, I] each."""
        packed = torch.bmm(x, self.third).view(*x.shape[:2], self.outputs, -1)
        return packed[..., self.unpack].view(*packed.shape[:3], x.shape[2], x.shape[2]), self.second[:, None]


class Polynomial(torch.autograd.Function):
    """Values of the polynomials, x [N, C, I] → [N, C, O]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: list[tuple[Tensor, Coefficients]]) -> Tensor:
        outputs = groups[0][1].outputs
        values = x.new_empty(*x.shape[:2], outputs)
        slopes = x.new_empty(*x.shape[:2], outputs, x.shape[2])  # by x
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
    """gradient [N, C, O] of values → gradient [N, C, I] of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gradient: Tensor, slopes: Tensor, groups: Any) -> Tensor:
        curvature = x.new_empty(*x.shape, x.shape[2])  # of the values, weighted by `gradient`
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


class Convolution(torch.nn.Module):
    """Messages to each atom, [N, D]: over its edges, the sum of a tensor product, linear in each of three operands.

    The operands are features [N, F] of the edge's source, the edge's direction [E, Y] and weights [E, W].
    """

    def __init__(self, product: Any) -> None:
        super().__init__()
        self.product = product

    def forward(self, x: Tensor, y: Tensor, w: Tensor, edge_index: Tensor) -> Tensor:
        return Messages.apply(x, y, w, edge_index, self.product)


def tiles(edge_index: Tensor, product: Any) -> list[slice]:
    """The edges, so many at a time that a tile of messages has `TILE` numbers."""
    edges = edge_index.shape[1]
    size = max(1, TILE.get(edge_index.device.type, TILE["cuda"]) // product.irreps_out.dim)
    return [slice(start, start + size) for start in range(0, edges, size)]


class Messages(torch.autograd.Function):
    """Operands of each edge → messages [N, D]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, w: Tensor, edge_index: Tensor, product: Any) -> Tensor:
        sums = x.new_zeros(len(x), product.irreps_out.dim)
        for tile in tiles(edge_index, product):
            source, target = edge_index[:, tile]
            sums.index_add_(0, target, product(x[source], y[tile], w[tile]))
        ctx.save_for_backward(x, y, w, edge_index)
        ctx.product = product
        return sums

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y, w, edge_index = ctx.saved_tensors
        return (*MessagesGradient.apply(x, y, w, gradient, edge_index, ctx.product), None, None)


class MessagesGradient(torch.autograd.Function):
    """gradient [N, D] of messages → gradients of the three operands."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, w: Tensor, gradient: Tensor, edge_index: Tensor, product: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        of_x, of_y, of_w = torch.zeros_like(x), torch.empty_like(y), torch.empty_like(w)
        for tile in tiles(edge_index, product):
            source, target = edge_index[:, tile]
            operands = [part.requires_grad_() for part in (x[source], y[tile].clone(), w[tile].clone())]
            with torch.enable_grad():
                messages = product(*operands)
            of_source, of_y[tile], of_w[tile] = torch.autograd.grad(messages, operands, gradient[target])
            of_x.index_add_(0, source, of_source)
        ctx.save_for_backward(x, y, w, gradient, edge_index)
        ctx.product = product
        return of_x, of_y, of_w

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cx: Tensor, cy: Tensor, cw: Tensor) -> tuple[Tensor | None, ...]:
        """The derivatives of <gradient, T(cx, y, w) + T(x, cy, w) + T(x, y, cw)>, with T the tensor product.

        The three products are computed as one of three times the edges.
        """
        x, y, w, gradient, edge_index = ctx.saved_tensors
        of_x, of_y, of_w = torch.zeros_like(x), torch.empty_like(y), torch.empty_like(w)
        of_gradient = torch.zeros_like(gradient)
        for tile in tiles(edge_index, ctx.product):
            source, target = edge_index[:, tile]
            at = x[source]
            operands = [
                torch.cat([cx[source], at, at]).requires_grad_(),
                torch.cat([y[tile], cy[tile], y[tile]]).requires_grad_(),
                torch.cat([w[tile], w[tile], cw[tile]]).requires_grad_(),
            ]
            with torch.enable_grad():
                messages = ctx.product(*operands)
            found = torch.autograd.grad(messages, operands, gradient[target].repeat(3, 1))
            xs, ys, ws, sums = (part.unflatten(0, (3, len(source))) for part in (*found, messages.detach()))
            of_x.index_add_(0, source, xs[1] + xs[2])
            of_y[tile] = ys[0] + ys[2]
            of_w[tile] = ws[0] + ws[1]
            of_gradient.index_add_(0, target, sums.sum(0))
        return of_x, of_y, of_w, of_gradient, None, None

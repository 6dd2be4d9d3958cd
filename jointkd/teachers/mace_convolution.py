"""The convolution of MACE in tiles of edges, with bounded memory for many Hessian rows of one structure.

Only the operands of the tensor product are stored; the derivatives recompute the messages tile by tile.
Source: Batatia et al., NeurIPS 2022, eq. 8.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = {"cpu": 2**19, "cuda": 2**25}  # numbers in the messages of a tile of edges: a CPU's cache, or enough for a GPU


class Convolution(torch.nn.Module):
    """Messages to each atom, [N, D]: the sum over its edges of a tensor product that is linear in three operands.

    The operands are the features [N, F] of the edge's source, the spherical harmonics [E, Y] and the weights [E, W].
    """

    def __init__(self, product: Any) -> None:
        super().__init__()
        self.product = product

    def forward(self, x: Tensor, y: Tensor, w: Tensor, edge_index: Tensor) -> Tensor:
        return Messages.apply(x, y, w, edge_index, self.product)


def tiles(edge_index: Tensor, product: Any) -> list[slice]:
    """Slices of the edges, such that the messages of a slice have about `TILE` numbers."""
    edges = edge_index.shape[1]
    size = max(1, TILE.get(edge_index.device.type, TILE["cuda"]) // product.irreps_out.dim)
    return [slice(start, start + size) for start in range(0, edges, size)]


class Messages(torch.autograd.Function):
    """Operands of the tensor product → messages [N, D]. Only the operands are kept for the backward pass."""

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
    """Gradient with respect to the messages [N, D] → gradients with respect to the three operands."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, w: Tensor, gradient: Tensor, edge_index: Tensor, product: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        of_x, of_y, of_w = torch.zeros_like(x), torch.empty_like(y), torch.empty_like(w)
        for tile in tiles(edge_index, product):
            source, target = edge_index[:, tile]
            operands = [operand.requires_grad_() for operand in (x[source], y[tile].clone(), w[tile].clone())]
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

        The three products are computed as one product with three times the edges.
        """
        x, y, w, gradient, edge_index = ctx.saved_tensors
        of_x, of_y, of_w = torch.zeros_like(x), torch.empty_like(y), torch.empty_like(w)
        of_gradient = torch.zeros_like(gradient)
        for tile in tiles(edge_index, ctx.product):
            source, target = edge_index[:, tile]
            features = x[source]
            operands = [
                torch.cat([cx[source], features, features]).requires_grad_(),
                torch.cat([y[tile], cy[tile], y[tile]]).requires_grad_(),
                torch.cat([w[tile], w[tile], cw[tile]]).requires_grad_(),
            ]
            with torch.enable_grad():
                messages = ctx.product(*operands)
            gradients = torch.autograd.grad(messages, operands, gradient[target].repeat(3, 1))
            xs, ys, ws, sums = (part.unflatten(0, (3, len(source))) for part in (*gradients, messages.detach()))
            of_x.index_add_(0, source, xs[1] + xs[2])
            of_y[tile] = ys[0] + ys[2]
            of_w[tile] = ws[0] + ws[1]
            of_gradient.index_add_(0, target, sums.sum(0))
        return of_x, of_y, of_w, of_gradient, None, None

"""Filters of the distance by bands of Gaussians, of which few differ from zero at any one distance.

A filter is f(x) = W φ(x), with φ of `RadialBasis`. A Gaussian is as narrow as their spacing, so that to the precision
of the numbers some 15 to 20 of 128 differ from zero. Pairs are taken in the order of their distances, in tiles that
share a band of Gaussians. L = Σ_pkf a_p φ_k⁽ⁿ⁾(x_p) W_fk f_pf is linear in scales a, weights W and filters f.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jointkd.students.basis import RadialBasis
from jointkd.students.kernels.contraction import Operands, contract
from jointkd.students.kernels.onednn import matmul

TILE = 1024  # pairs that share a band
SCALES, WEIGHTS, FILTERS = range(3)  # [P], [F, K + 1], [P, F]


class Tile(NamedTuple):
    """Pairs of like distances, and the Gaussians that matter to them."""

    pairs: Tensor  # [T] of all P
    x: Tensor  # [T]
    band: slice  # of the Gaussians
    columns: Tensor  # [K' + 1] of W: the band, and the bias


class Bands:
    """The filters of pairs at distances x [P] in cutoffs, as a function of their weights [F, K + 1], the bias last.

    Tiles and φ⁽ⁿ⁾ in them are computed at first use, when x is a plain tensor also within transforms of torch.
    """

    def __init__(self, basis: RadialBasis, x: Tensor) -> None:
        self.basis, self.x = basis, x
        self._tiles: list[Tile] = []
        self._inverse = torch.empty(0)  # [P] of each pair its place in the order of the tiles
        self._values: dict[int, list[Tensor]] = {}

    def __call__(self, weights: Tensor) -> Tensor:
        return contract(self, FILTERS, (None, weights, None), self.x)

    def fresh(self) -> "Bands":
        return Bands(self.basis, self.x)

    def contract(self, missing: int, order: int, x: Tensor | None, operands: Operands) -> Tensor:
        """∂L/∂operand; see `Kernel`. x is the same in all calls."""
        assert x is not None
        scales, weights, filters = operands
        values = self._values_of(x, order)
        parts = []
        for (pairs, _, _, columns), phi in zip(self._tiles, values, strict=True):
            if scales is not None:
                phi = phi * scales.index_select(0, pairs)[:, None]
            band: Any = None if weights is None else weights.index_select(1, columns)
            part: Any = None if filters is None else filters.index_select(0, pairs)
            if missing == WEIGHTS:
                parts.append(matmul(phi.T, part))
            elif missing == FILTERS:
                parts.append(matmul(phi, band.T))
            else:
                parts.append((matmul(part, band) * phi).sum(1))
        if missing != WEIGHTS:
            return torch.cat(parts).index_select(0, self._inverse)
        columns = torch.cat([tile.columns for tile in self._tiles])
        total = torch.cat(parts)
        return x.new_zeros(self.basis.count + 1, total.shape[1]).index_add_(0, columns, total).T

    def _values_of(self, x: Tensor, order: int) -> list[Tensor]:
        """φ⁽ⁿ⁾ [T, K' + 1] of every tile."""
        if not self._tiles:
            self._tiles = list(tiles(x, self.basis.count))
            self._inverse = torch.cat([tile.pairs for tile in self._tiles]).argsort()
        if order not in self._values:
            self._values[order] = [self.basis(tile.x, order, tile.band) for tile in self._tiles]
        return self._values[order]


def tiles(x: Tensor, count: int) -> Iterator[Tile]:
    """The tiles of distances for `count` Gaussians."""
    reach = math.sqrt(-2 * math.log(torch.finfo(x.dtype).eps)) + 1  # in spacings; 1 is for the derivatives
    ascending, order = x.sort()
    for near, pairs in zip(ascending.split(TILE), order.split(TILE), strict=True):
        low, high = (count - 1) * near[[0, -1]]
        band = slice(*(min(max(0, math.ceil(edge)), count) for edge in (low - reach, high + reach + 1)))
        yield Tile(pairs, near, band, torch.tensor([*range(count)[band], count]))

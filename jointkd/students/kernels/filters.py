"""Filters of distances: linear combinations of Gaussians, of which few matter at any one distance.

A filter is f(x) = W φ(x), with φ the Gaussians times the envelope, and behind them what the bias is multiplied with.
A Gaussian is as narrow as their spacing, so that to the precision of the numbers some 15 to 20 of 128 differ from zero.
On a CPU pairs are taken in the order of their distances, in tiles that share a band of Gaussians.

The form Σ_pkf a_p φ_k⁽ⁿ⁾(x_p) W_fk F_pf is linear in a, W and F: each derivative of a filter is again this form,
summed onto the place that is left out, with n one higher for a derivative by x.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from jointkd.students.basis import GaussianBasis, PolynomialEnvelope
from jointkd.students.kernels.matrices import value

TILE = 1024  # pairs that share a band
SMALL = 2**26  # pairs · (Gaussians + 1) · width, of which the product is made at once
PLACES = ("pair", "weight", "filter")  # [P], [F, K + 1], [P, F]; nothing at the first is one
Given = Sequence[Any]  # a tensor or None, by place


class RadialBasis(nn.Module):
    """φ(x): K Gaussians times the envelope, and 1 times the envelope, or with smooth False 1 within the cutoff."""

    def __init__(self, count: int, smooth: bool) -> None:
        super().__init__()
        self.count, self.smooth = count, smooth
        self.gaussians = GaussianBasis(count)
        self.envelope = PolynomialEnvelope()

    def forward(self, x: Tensor, order: int = 0, band: slice = slice(None)) -> Tensor:
        """φ⁽ⁿ⁾ [P, K' + 1] of distances x [P] in cutoffs; n the order, K' the Gaussians of the band."""
        envelopes = [self.envelope(x, n)[:, None] for n in range(order + 1)]
        slopes = self.gaussians.derivatives(x, order, band)
        gaussians = sum(math.comb(order, n) * envelopes[n] * slopes[order - n] for n in range(order + 1))
        last = envelopes[-1] if self.smooth else (x < 1)[:, None].to(x) * float(order == 0)
        return torch.cat([gaussians, last], dim=1)


class Tile(NamedTuple):
    """Pairs of like distances, and the Gaussians that matter to them."""

    pairs: Tensor  # [T] of all P
    x: Tensor  # [T]
    band: slice  # of the Gaussians
    columns: Tensor  # [K' + 1] of W: the band, and the bias


class Filters:
    """The filters of some distances x [P] in cutoffs, called with their weights [F, K + 1], the bias last: [P, F]."""

    def __init__(self, basis: RadialBasis, x: Tensor) -> None:
        self.basis, self.x = basis, x
        self.bands = Bands(basis)
        self.plain: Tensor | None = None

    def __call__(self, weight: Tensor) -> Tensor:
        banded = self.x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        if banded and len(self.x) * weight.numel() > SMALL:
            return onto("filter", self.bands, 0, self.x, (None, weight, None))
        if self.plain is None:
            self.plain = self.basis(self.x)
        return self.plain @ weight.T


class Bands:
    """The tiles of some distances, made when they are first used, and φ⁽ⁿ⁾ in them."""

    def __init__(self, basis: RadialBasis) -> None:
        self.basis = basis
        self._tiles: list[Tile] = []
        self._place = torch.empty(0)  # [P] of each pair in the tiles
        self._values: dict[int, list[Tensor]] = {}

    def values(self, x: Tensor, order: int) -> list[Tensor]:
        """[T, K' + 1] of every tile; x [P] is the same in all calls."""
        if order not in self._values:
            self._values[order] = [self.basis(tile.x, order, tile.band) for tile in self.tiles_of(x)]
        return self._values[order]

    def tiles_of(self, x: Tensor) -> list[Tile]:
        if not self._tiles:
            self._tiles = list(tiles(x, self.basis.count))
            self._place = torch.cat([tile.pairs for tile in self._tiles]).argsort()
        return self._tiles

    def total(self, to: str, order: int, x: Tensor, given: Given) -> Tensor:
        """The form summed onto one of PLACES, which is None in what is given."""
        pair, weight, of_filter = given
        parts = []
        for (pairs, _, _, columns), phi in zip(self.tiles_of(x), self.values(x, order), strict=True):
            if pair is not None:
                phi = phi * pair.index_select(0, pairs)[:, None]
            band = None if weight is None else weight.index_select(1, columns).T
            part = None if of_filter is None else of_filter.index_select(0, pairs)
            if to == "weight":
                parts.append(value("b", (phi, None, part)))
            elif to == "filter":
                parts.append(value("c", (phi, band, None)))
            else:
                parts.append((value("a", (None, band, part)) * phi).sum(1))
        if to != "weight":
            return torch.cat(parts).index_select(0, self._place)
        columns = torch.cat([tile.columns for tile in self.tiles_of(x)])
        return x.new_zeros(self.basis.count + 1, of_filter.shape[1]).index_add_(0, columns, torch.cat(parts)).T


def tiles(x: Tensor, count: int) -> Iterator[Tile]:
    """The tiles of distances for `count` Gaussians."""
    reach = math.sqrt(-2 * math.log(torch.finfo(x.dtype).eps)) + 1  # in spacings; 1 is for the derivatives
    ascending, order = x.sort()
    for near, pairs in zip(ascending.split(TILE), order.split(TILE), strict=True):
        low, high = (count - 1) * near[[0, -1]]
        band = slice(*(min(max(0, math.ceil(edge)), count) for edge in (low - reach, high + reach + 1)))
        yield Tile(pairs, near, band, torch.tensor([*range(count)[band], count]))


class Banded(torch.autograd.Function):
    """`Bands.total` with derivatives of any order by x and by what is given, one of which is None."""

    @staticmethod
    def forward(bands: Bands, to: str, order: int, x: Tensor, *given: Tensor | None) -> Tensor:
        return bands.total(to, order, x, given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.bands, ctx.to, ctx.order, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Any, ...]:
        x, *given = ctx.saved_tensors
        every = [cotangent if place == ctx.to else tensor for place, tensor in zip(PLACES, given, strict=True)]
        of_x = None
        if ctx.needs_input_grad[3]:
            of_x = onto("pair", ctx.bands, ctx.order + 1, x, every)
            of_x = of_x if every[0] is None else every[0] * of_x
        wanted = zip(PLACES, ctx.needs_input_grad[4:], strict=True)
        return (
            None,
            None,
            None,
            of_x,
            *(onto(place, ctx.bands, ctx.order, x, every) if needed else None for place, needed in wanted),
        )

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        x, *given = ctx.saved_tensors
        terms = []
        if tangents[3] is not None:
            along = tangents[3] if given[0] is None else tangents[3] * given[0]
            term = onto(ctx.to, ctx.bands, ctx.order + 1, x, [along, *given[1:]])
            terms.append(term * along if ctx.to == "pair" else term)
        for number, tangent in enumerate(tangents[4:]):
            if tangent is not None:
                moved = [*given[:number], tangent, *given[number + 1 :]]
                terms.append(onto(ctx.to, ctx.bands, ctx.order, x, moved))
        return torch.stack(terms).sum(0)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], bands: Bands, *inputs: Any) -> tuple[Tensor, int]:
        results = [
            Banded.apply(
                Bands(bands.basis),
                *(a.select(dim, k) if isinstance(dim, int) else a for a, dim in zip(inputs, in_dims[1:], strict=True)),
            )
            for k in range(info.batch_size)
        ]
        return torch.stack(results), 0


def onto(to: str, bands: Bands, order: int, x: Tensor, every: Given) -> Tensor:
    """The form of all that is given but what is at the place `to`, to be differentiated."""
    given = (None if place == to else tensor for place, tensor in zip(PLACES, every, strict=True))
    result: Tensor = Banded.apply(bands, to, order, x, *given)
    return result

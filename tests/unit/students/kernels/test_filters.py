"""Filters by bands against the same filters at once, and their derivatives."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from jointkd.students.kernels import filters
from jointkd.students.kernels.filters import Bands, Filters, RadialBasis

EITHER_FORM = pytest.mark.parametrize("smooth", [True, False], ids=["smooth", "as the reference"])


@pytest.fixture(autouse=True)
def bands_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "SMALL", 0)
    monkeypatch.setattr(filters, "TILE", 5)


def example(gaussians: int, smooth: bool, dtype: torch.dtype = torch.float64) -> tuple[RadialBasis, Tensor, Tensor]:
    """Distances, some of them beyond the cutoff, and weights."""
    generator = torch.Generator().manual_seed(0)
    x = 1.1 * torch.rand(17, generator=generator, dtype=dtype)
    x[3] = 100.0
    weight = torch.randn(3, gaussians + 1, generator=generator, dtype=dtype)
    return RadialBasis(gaussians, smooth).to(dtype), x.requires_grad_(), weight.requires_grad_()


@EITHER_FORM
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-14), (torch.float32, 2e-6)], ids=["double", "single"])
def test_that_bands_lose_nothing(smooth: bool, dtype: torch.dtype, bound: float) -> None:
    basis, x, weight = example(128, smooth, dtype)
    expected = basis(x) @ weight.T
    found = Filters(basis, x)(weight)
    assert found.grad_fn is not None
    assert "Banded" in found.grad_fn.name()
    assert (found - expected).abs().max() < bound
    slopes, expected_slopes = (torch.autograd.grad(f.sum(), x)[0] for f in (found, expected))
    assert (slopes - expected_slopes).abs().max() < bound * expected_slopes.abs().max()


def test_that_bands_are_narrow() -> None:
    basis, _, _ = example(128, True)
    tiles = Bands(basis).tiles_of(torch.linspace(0, 1, 500, dtype=torch.float64))
    assert max(len(tile.columns) for tile in tiles) <= 23


@EITHER_FORM
def test_derivatives_of_first_to_third_order(smooth: bool) -> None:
    basis, x, weight = example(6, smooth)

    def squares(x: Tensor, weight: Tensor) -> Tensor:
        return Filters(basis, x)(weight).square()

    def slopes(x: Tensor, weight: Tensor) -> Tensor:
        return torch.autograd.grad(squares(x, weight).sum(), x, create_graph=True)[0] ** 2

    assert gradcheck(squares, (x, weight), check_forward_ad=True)
    assert gradgradcheck(squares, (x, weight))
    assert gradgradcheck(slopes, (x, weight), atol=1e-3)


@EITHER_FORM
def test_transforms(smooth: bool) -> None:
    basis, x, weight = example(12, smooth)
    x, weight = x.detach(), weight.detach()
    several = torch.stack([x, x.flip(0), 0.5 * x])

    def slope(x: Tensor) -> Tensor:
        return torch.func.grad(lambda x: Filters(basis, x)(weight).square().sum())(x)

    one_by_one = torch.stack([slope(x) for x in several])
    torch.testing.assert_close(torch.vmap(slope)(several), one_by_one)
    tangent = torch.linspace(-1, 1, len(x), dtype=x.dtype)
    pulled = torch.func.vjp(slope, x)[1](tangent)[0]
    pushed = torch.func.jvp(slope, (x,), (tangent,))[1]
    torch.testing.assert_close(pushed, pulled)  # a Hessian is symmetric

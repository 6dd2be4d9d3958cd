"""Radial functions and layers that may be differentiated as often as training needs."""

import math

import torch
from torch import Tensor, nn

FARTHEST = 10  # widths from its centre, beyond which a Gaussian counts as 2e-22: denormal numbers would be slow


class PolynomialEnvelope(nn.Module):
    """u(x) = 1 + a xᵖ + b xᵖ⁺¹ + c xᵖ⁺², zero with its first two derivatives at x = 1. Source: DimeNet, eq. 8."""

    def __init__(self, exponent: int = 5) -> None:
        super().__init__()
        self.exponent = exponent

    def forward(self, x: Tensor, order: int = 0) -> Tensor:
        """The derivative of this order with respect to x."""
        p = self.exponent
        powers = {0: 1.0, p: -(p + 1) * (p + 2) / 2, p + 1: p * (p + 2), p + 2: -p * (p + 1) / 2}
        polynomial = sum(c * math.perm(n, order) * x ** max(n - order, 0) for n, c in powers.items())
        return torch.where(x < 1, polynomial, torch.zeros_like(x))


class GaussianBasis(nn.Module):
    """`count` Gaussians evenly spaced over x in [0, 1], each as wide as their spacing. x [E] → [E, count]."""

    offset: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.inverse_width = count - 1
        self.register_buffer("offset", torch.linspace(0, 1, count), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.derivatives(x, 0)[0]

    def derivatives(self, x: Tensor, highest: int, band: slice = slice(None)) -> list[Tensor]:
        """Derivatives with respect to x of orders 0 to `highest`, of the Gaussians of a band."""
        u = ((x[:, None] - self.offset[band]) * self.inverse_width).clamp(-FARTHEST, FARTHEST)
        values = [torch.exp(-0.5 * u**2)]
        for n in range(highest):  # Hermite polynomials times the Gaussian
            higher = u * values[n]
            values.append(higher - n * values[n - 1] if n else higher)
        return [(-self.inverse_width) ** n * value for n, value in enumerate(values)]


class RadialBasis(nn.Module):
    """φ(x): K Gaussians times the envelope, and 1 times the envelope, or with smooth False 1 within the cutoff.

    A filter is W φ(x) with the bias as the last column of W: with smooth True the bias, too, fades at the cutoff.
    """

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


def length(vectors: Tensor, dim: int, softening: float = 0.0) -> Tensor:
    """√(v² + softening²) along `dim`. Without softening all derivatives are zero, not NaN, where v = 0."""
    square = (vectors**2).sum(dim) + softening**2
    if softening:
        return square.sqrt()
    zero = square == 0
    return torch.where(zero, torch.zeros_like(square), torch.where(zero, torch.ones_like(square), square).sqrt())


class LayerNorm(nn.Module):
    """Layer normalisation of [..., width] that may be differentiated three times.

    torch's own is not used: the third derivative of `torch.nn.functional.layer_norm` is wrong (torch 2.13, CPU),
    and the gradient of a Hessian loss needs it for a conservative student.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        return centred * torch.rsqrt(variance + 1e-5) * self.weight + self.bias


class SphericalHarmonics(nn.Module):
    """Real spherical harmonics of unit vectors: [E, 3] → [E, degrees²].

    Those of degree l are l²..(l+1)²: the cosines m = 0..l, then the sines m = 1..l. They are scaled so that
    Σ_m Y_lm(u) Y_lm(v) = √((2l+1)/4π) P_l(u·v). Polynomials in the components, smooth in every direction.
    """

    norm: Tensor  # [degrees²]

    def __init__(self, degrees: int) -> None:
        super().__init__()
        self.degrees = degrees
        norms = [self._norms(degree) for degree in range(degrees)]
        columns = [value for by_order in norms for value in (*by_order, *by_order[1:])]
        self.register_buffer("norm", torch.tensor(columns, dtype=torch.float64), persistent=False)

    @staticmethod
    def _norms(l: int) -> list[float]:  # noqa: E741
        """Of the orders m = 0..l."""
        scale = ((2 * l + 1) / (4 * math.pi)) ** 0.25
        return [scale * math.sqrt((1 + (m > 0)) * math.factorial(l - m) / math.factorial(l + m)) for m in range(l + 1)]

    def forward(self, direction: Tensor) -> Tensor:
        x, y, z = direction[:, :1], direction[:, 1:2], direction[:, 2:]
        cosine, sine = torch.ones_like(x), torch.zeros_like(x)
        cosines, sines = [cosine], [sine]  # Re, Im of (x + iy)^m
        for _ in range(1, self.degrees):
            cosine, sine = x * cosine - y * sine, x * sine + y * cosine
            cosines.append(cosine)
            sines.append(sine)
        real, imaginary = torch.cat(cosines, dim=1), torch.cat(sines, dim=1)
        before, now = torch.zeros_like(x), torch.ones_like(x)  # P_lm(z) / sin^m of degrees l - 1 and l, m = 0..l
        columns = []
        for l in range(self.degrees):  # noqa: E741
            columns += [now * real[:, : l + 1], now[:, 1:] * imaginary[:, 1 : l + 1]]
            m = torch.arange(l + 1, dtype=x.dtype, device=x.device)
            up = ((2 * l + 1) * z * now - (l + m) * before) / (l + 1 - m)
            before = nn.functional.pad(now, (0, 1))
            now = torch.cat([up, (2 * l + 1) * now[:, l:]], dim=1)
        return torch.cat(columns, dim=1) * self.norm.to(x.dtype)

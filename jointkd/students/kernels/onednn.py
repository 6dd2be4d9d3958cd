"""Products of matrices by oneDNN, on AMD processors with AVX-512.

torch multiplies float32 matrices by MKL, which leaves AVX-512 unused on other processors than Intel's; oneDNN,
which torch has for its compiler, uses it on all. On Intel's processors it gains nothing, and without AVX-512 neither.
"""

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from jointkd.students.kernels.contraction import Operands, contract

X, WEIGHT, RESULT = range(3)


class LinearMap:
    """The `Kernel` of x Wᵀ: L = Σ x_rj W_kj y_rk."""

    def contract(self, missing: int, order: int, x: Tensor | None, operands: Operands) -> Tensor:
        given, weight, result = operands
        if missing == RESULT:
            return matmul(given, weight.T)
        return matmul(result, weight) if missing == X else matmul(result.T, given)

    def fresh(self) -> "LinearMap":
        return self


LINEAR_MAP = LinearMap()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As torch.nn.functional.linear."""
    result = contract(LINEAR_MAP, RESULT, (x.flatten(0, -2), weight, None)).unflatten(0, x.shape[:-1])
    return result if bias is None else result + bias


def matmul(x: Tensor, y: Tensor) -> Tensor:
    """x y of two matrices, not to be differentiated; by oneDNN where that is faster."""
    if x.dtype != torch.float32 or not is_faster():
        return x @ y
    if y.shape[1] < len(x) < x.shape[1]:  # in sums over many rows the narrower matrix is to come first
        return times_transposed(y.T, x).T
    return times_transposed(x, y.T)


@cache
def is_faster() -> bool:
    """Whether this is an AMD processor with AVX-512, and torch has oneDNN."""
    about = Path("/proc/cpuinfo")
    text = about.read_text(encoding="utf-8") if about.exists() else ""
    return "AuthenticAMD" in text and " avx512f " in text and torch.backends.mkldnn.is_available()


def times_transposed(x: Tensor, y: Tensor) -> Tensor:
    """x yᵀ by oneDNN, which is a hundred times slower where lines of a matrix do not follow each other in memory."""
    x, y = (matrix if matrix.is_contiguous() or matrix.T.is_contiguous() else matrix.contiguous() for matrix in (x, y))
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, y, None, "none", [], "")
    return result

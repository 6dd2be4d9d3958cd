"""AllScAIP models of fairchem-core 2.x in float64, with finite second derivatives.

In version 2.24, `fairchem.core.models.allscaip` converts the neighbour list and the last features to float32, and its
second derivatives are not finite for structures with more atoms than are ranked as nearest neighbours.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from jointkd.runtime import default_dtype

CAVEAT = "its energies jump where an atom enters a list of nearest neighbours, and change under rotation"
FAR = 1e6  # replaces the infinite rank of atoms that are not ranked; neighbours have ranks of some tens


@contextlib.contextmanager
def differentiable(dtype: torch.dtype) -> Iterator[None]:
    """Within the block, a model computes in `dtype` throughout, and its energies are twice differentiable."""
    with default_dtype(dtype), Float64SafeMode():
        yield


class Float64SafeMode(TorchFunctionMode):
    """Skips conversions from float64 to float32, and limits the arguments of `torch.logsumexp`.

    Atoms that are not ranked have an infinite rank. They are not neighbours and do not contribute to the energy, but
    the second derivative of a logsumexp of infinity is nan, and so is every sum that contains it. The energy is
    unchanged.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is Tensor.to and args[0].dtype == torch.float64 and args[-1] is torch.float32:
            return args[0]
        if function is torch.logsumexp:
            args = (args[0].clamp(max=FAR), *args[1:])
        return function(*args, **(kwargs or {}))

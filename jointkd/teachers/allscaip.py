"""What AllScAIP models of fairchem-core 2.x need in order to label.

Source: `fairchem.core.models.allscaip`, version 2.24, whose neighbour list and last features are float32 and whose
second derivatives are not finite where a structure has atoms beyond the nearest ones.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from jointkd.runtime import default_dtype

CAVEAT = "its energies jump where an atom enters a list of nearest neighbours, and change as a structure is turned"
FAR = 1e6  # the rank of an atom that is too far away to be ranked; neighbours have ranks of some tens


@contextlib.contextmanager
def differentiable(dtype: torch.dtype) -> Iterator[None]:
    """Within the block a model computes in dtype throughout, and its energies can be differentiated twice."""
    with default_dtype(dtype), Mended():
        yield


class Mended(TorchFunctionMode):
    """Two calls otherwise: no float64 becomes float32, and ranks are finite where their soft maximum is taken.

    Atoms without a rank have an infinite one; they are no neighbours, but the second derivative of a soft maximum that
    is infinite is not a number, and spoils all sums that it is in. Energies are the same.
    """

    def __torch_function__(self, function: Any, types: Any, given: Any = (), options: Any = None) -> Any:
        if function is Tensor.to and given[0].dtype == torch.float64 and given[-1] is torch.float32:
            return given[0]
        if function is torch.logsumexp:
            given = (given[0].clamp(max=FAR), *given[1:])
        return function(*given, **(options or {}))

"""A function of tensors of fixed shapes, on a GPU recorded once as a CUDA graph and then replayed by one launch."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

WARM_UP = 2  # calls before recording, in which libraries choose algorithms and take their memory


class Pool:
    """Memory that recordings of one owner share, which must not let go of all of them and then record again."""

    def __init__(self) -> None:
        self._handle: Any = None

    @property
    def handle(self) -> Any:
        """Of torch, made when it is first asked for."""
        if self._handle is None:
            self._handle = torch.cuda.graph_pool_handle()
        return self._handle


class Replay:
    """Calls a function whose first arguments, `state`, stay where they are in memory; the others may be anywhere.

    On a GPU the others are copied to where those of the recording lay, and results hold until a recording of the same
    pool is replayed.
    """

    def __init__(
        self, function: Callable[..., Sequence[Tensor]], state: list[Tensor], example: list[Tensor], pool: Pool
    ) -> None:
        self.function, self.state, self.pool = function, [tensor.detach() for tensor in state], pool
        self._graph: Any = None
        self._device = example[0].device
        if self._device.type == "cuda":
            self._inputs = [tensor.clone() for tensor in example]
            with torch.cuda.device(self._device):
                self._record()

    def _record(self) -> None:
        main, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(main)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self.function(*self.state, *self._inputs)
        main.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool.handle):
            self._outputs = list(self.function(*self.state, *self._inputs))
        self._graph = graph

    def __call__(self, arguments: list[Tensor]) -> list[Tensor]:
        """What the function returns for the state as it is now and these arguments."""
        if self._graph is None:
            return list(self.function(*self.state, *arguments))
        by_dtype: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for own, given in zip(self._inputs, arguments, strict=True):
            owns, givens = by_dtype.setdefault(own.dtype, ([], []))
            owns.append(own)
            givens.append(given)
        for owns, givens in by_dtype.values():
            torch._foreach_copy_(owns, givens)
        with torch.cuda.device(self._device):
            self._graph.replay()
        return self._outputs

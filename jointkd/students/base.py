"""What every student is."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from jointkd.structures.batch import Prediction, Structure


class Student(Protocol):
    """A `torch.nn.Module` that takes positions [N, 3] Å and a batch to a `Prediction`.

    Positions are an argument of their own because derivatives are taken by them; those of the batch are not used. They
    count only through the vectors of edges, positions[source] + shift - positions[target]: a program that knows these
    more precisely may give them as shifts, between atoms that all lie at the origin.
    A conservative student leaves `forces` None, and they are its energy's negative gradient.
    """

    conservative: bool
    cutoff: float  # Å, of its neighbours
    elements: int  # the highest atomic number it knows
    max_neighbors: int | None  # of each atom, None for all

    def __call__(self, positions: Tensor, structure: Structure) -> Prediction: ...

    def modules(self) -> Iterator[nn.Module]: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...

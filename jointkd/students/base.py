"""What every student is."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from jointkd.errors import ConfigError
from jointkd.ranges import check_integer, check_number
from jointkd.structures.batch import Prediction, Structure

SHORTEST_CUTOFF = 1.0  # Å; the bond of H2 has 0.74 Å, so that hardly any atom has a neighbour within less
HEAVIEST = 118


def check_cutoff(cutoff: float) -> None:
    """Raise ConfigError for a cutoff (Å) within which atoms have no neighbours."""
    check_number("student.cutoff", cutoff, "Å")
    if cutoff < SHORTEST_CUTOFF:
        raise ConfigError(
            f"student.cutoff={cutoff} Å is shorter than bonds, so atoms would have no neighbours",
            "give Å; 4 to 12 are usual",
        )


def check_sizes(cutoff: float, elements: int, max_neighbors: int | None, least_width: int, **sizes: int) -> None:
    """Raise ConfigError for a size of a student that is out of range. cutoff: Å; sizes: others, by parameter."""
    check_cutoff(cutoff)
    check_integer("student.elements", elements, 1, HEAVIEST)
    if max_neighbors is not None:
        check_integer("student.max_neighbors", max_neighbors)
    for name, size in sizes.items():
        check_integer(f"student.{name}", size, least_width if name == "width" else 1)


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

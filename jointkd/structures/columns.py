"""Properties of many frames at once. A prepared set has them as arrays, which spares making a frame of each."""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from jointkd.structures.frame import Frame

Item = TypeVar("Item")


@runtime_checkable
class Columns(Protocol):
    """A sequence of M frames that gives properties of all of them."""

    def keys(self) -> list[str]:
        """[M] content keys."""

    def energies(self) -> np.ndarray:
        """[M] eV, NaN where a frame has none."""

    def with_forces(self) -> np.ndarray:
        """[M] whether a frame has forces."""

    def groups(self) -> list[str]:
        """[M] molecules or materials, empty where a frame has none."""

    def numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """[N] atomic numbers of all frames one after another, and [M] how many atoms each has."""

    def at(self, indices: Sequence[int]) -> "Sequence[Frame]":
        """The frames at these positions."""


def keys_of(frames: Sequence[Frame]) -> list[str]:
    """[M] the content keys of frames."""
    return frames.keys() if isinstance(frames, Columns) else [frame.key for frame in frames]


def energies_of(frames: Sequence[Frame]) -> np.ndarray:
    """[M] eV: the total energies of frames, NaN where one has none."""
    if isinstance(frames, Columns):
        return frames.energies()
    return np.array([np.nan if frame.energy is None else frame.energy for frame in frames], dtype=float)


def with_labels(frames: Sequence[Frame]) -> tuple[np.ndarray, np.ndarray]:
    """[M] whether each frame has an energy, and [M] whether it has forces."""
    energies = np.isfinite(energies_of(frames))
    if isinstance(frames, Columns):
        return energies, frames.with_forces()
    return energies, np.array([frame.forces is not None for frame in frames], dtype=bool)


def without_labels(frames: Sequence[Frame]) -> tuple[int, int]:
    """How many of the frames have no energy, and how many no forces."""
    energies, forces = with_labels(frames)
    return int((~energies).sum()), int((~forces).sum())


def with_energies(frames: Sequence[Frame]) -> Sequence[Frame]:
    """The frames that have an energy."""
    return select(frames, with_labels(frames)[0])


def with_both_labels(frames: Sequence[Frame]) -> Sequence[Frame]:
    """The frames that have an energy and forces."""
    energies, forces = with_labels(frames)
    return select(frames, energies & forces)


def groups_of(frames: Sequence[Frame]) -> list[str]:
    """[M] the molecule or material of each frame, empty where it has none."""
    return frames.groups() if isinstance(frames, Columns) else [frame.group for frame in frames]


def numbers_of(frames: Sequence[Frame]) -> tuple[np.ndarray, np.ndarray]:
    """[N] the atomic numbers of all frames one after another, and [M] how many atoms each has."""
    if isinstance(frames, Columns):
        return frames.numbers()
    sizes = np.array([len(frame) for frame in frames], dtype=np.int64)
    return np.concatenate([frame.numbers for frame in frames] or [np.zeros(0, np.int64)]), sizes


def elements_of(frames: Sequence[Frame]) -> list[int]:
    """The atomic numbers that occur, ascending."""
    return np.unique(numbers_of(frames)[0]).tolist()


def composition(frames: Sequence[Frame], elements: Sequence[int]) -> np.ndarray:
    """[M, elements] how many atoms of each element each frame has; atoms of other elements are not counted."""
    return count_atoms(*numbers_of(frames), elements).astype(float)


def count_atoms(numbers: np.ndarray, sizes: np.ndarray, elements: Sequence[int]) -> np.ndarray:
    """[M, elements] int64 how many atoms of each element structures have, whose numbers [N] follow one another.

    sizes: [M] how many atoms each has. Atoms of other elements are not counted.
    """
    column = np.full(max([*elements, int(numbers.max(initial=0))]) + 1, -1)
    column[list(elements)] = np.arange(len(elements))
    place = column[numbers]
    row = np.repeat(np.arange(len(sizes)), sizes)
    cells = (row * len(elements) + place)[place >= 0]
    return np.bincount(cells, minlength=len(sizes) * len(elements)).reshape(len(sizes), len(elements))


def evenly_spread(items: Sequence[Item], most: int) -> Sequence[Item]:
    """At most so many of them, at equal distances in their order."""
    return items[:: -(-len(items) // most) or 1]


def select(frames: Sequence[Frame], wanted: Iterable[bool]) -> Sequence[Frame]:
    """The frames for which `wanted` [M] is true."""
    indices = np.flatnonzero(np.fromiter(wanted, dtype=bool))
    return frames.at(indices.tolist()) if isinstance(frames, Columns) else [frames[index] for index in indices.tolist()]

"""A teacher that is built for its contract, and the structures on which it is checked."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from jointkd.contracts.properties import slope
from jointkd.contracts.structures import frame
from jointkd.errors import TeacherError
from jointkd.labels.directions import NO_ROWS
from jointkd.structures.frame import Frame
from jointkd.teachers.base import Teacher
from jointkd.teachers.spec import TeacherSpec

LARGEST_STEP = 0.02  # Å, of finite differences: the first of a sequence of ever smaller ones


class Subject:
    """A teacher and structures that it labels."""

    def __init__(self, spec: TeacherSpec, molecules: Sequence[Atoms], crystals: Sequence[Atoms]) -> None:
        self.spec, self.molecules, self.crystals = spec, molecules, crystals
        self._changes: dict[str, tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]] = {}

    @cached_property
    def teacher(self) -> Teacher:
        return self.spec.build()

    @cached_property
    def frames(self) -> list[Frame]:
        """Two molecules and a crystal if there are, else a cluster of the first elements that the teacher knows."""
        molecules, crystals = (
            [each for each in map(named, kind) if self.labels(each)] for kind in (self.molecules, self.crystals)
        )
        chosen = [*molecules[:2], *crystals[:1]]
        if not chosen:
            chosen = [each for each in [named(cluster(self.teacher.identity.elements))] if self.labels(each)]
        assert chosen, "the teacher labels none of the structures of its contract"
        return chosen

    def labels(self, each: Frame) -> bool:
        """Whether the teacher knows the elements of a structure, does not refuse it and gives finite labels."""
        if not set(each.numbers.tolist()) <= set(self.teacher.identity.elements):
            return False
        try:
            (labels,) = self.teacher.label([each], [NO_ROWS])
        except TeacherError:
            return False
        return labels.finite()

    def change(self, each: Frame) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """A displacement [N, 3] with a largest component of 1 Å; how energy and forces [1 + 3N] change along it, with
        errors; calculated once."""
        if each.key not in self._changes:
            move = np.random.default_rng(0).normal(size=each.positions.shape)
            move /= np.abs(move).max()

            def at(by: float) -> np.ndarray:
                moved = replace(each, positions=each.positions + by * move)
                (labels,) = self.teacher.label([moved], [NO_ROWS])
                return np.array([labels.energy, *labels.forces.astype(np.float64).flat])

            self._changes[each.key] = move, slope(at, LARGEST_STEP)
        return self._changes[each.key]


SUBJECTS: dict[str, Subject] = {}  # by how they are built


def named(atoms: Atoms) -> Frame:
    """A frame whose source is its formula, for messages."""
    return replace(frame(atoms), source=str(atoms.symbols))


def cluster(elements: Sequence[int]) -> Atoms:
    """Four atoms of the first elements, near the sums of their covalent radii."""
    numbers = [elements[number % min(len(elements), 2)] for number in range(4)]
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -0.9], [-1.1, -1, 1]]) / np.sqrt(8)
    return Atoms(numbers, 2.2 * max(covalent_radii[z] for z in numbers) * corners)

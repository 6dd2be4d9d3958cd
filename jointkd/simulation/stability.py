"""The stability of a structure: bonds that deviate from equilibrium, rearrangements, fragments and close contacts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from jointkd.structures.bonds import find_bonds, kinds, sums_of_radii
from jointkd.structures.neighbors import Pairs, lengths

HELD = 1.5  # times the sum of the covalent radii: atoms that are farther apart than that do not hold each other

DEVIATION, REARRANGEMENT = "bond deviation", "rearrangement"
FRAGMENTS, CONTACT, NOT_FINITE = "fragments", "close contact", "not finite"
UNCERTAIN = "uncertain forces"  # see `doubt`
OF_THE_PAPER = {DEVIATION, REARRANGEMENT, FRAGMENTS, CONTACT, NOT_FINITE}  # by which a structure is unstable there
UNSTABLE = {  # the events by which a structure is unstable, by the option stop_when
    "broken": {FRAGMENTS, CONTACT, NOT_FINITE},
    "bond": OF_THE_PAPER,
    "never": {FRAGMENTS, CONTACT, NOT_FINITE},
}
STOPS = {  # the events that end a simulation
    "broken": {*UNSTABLE["broken"], UNCERTAIN},
    "bond": {*UNSTABLE["bond"], UNCERTAIN},
    "never": {NOT_FINITE},
}


@dataclass(frozen=True)
class Event:
    """What happened to a structure. Two events are the same if they are of one kind and of the same atoms."""

    kind: str  # DEVIATION, REARRANGEMENT, FRAGMENTS, CONTACT, NOT_FINITE or UNCERTAIN
    atoms: tuple[int, ...]  # counted from 0
    description: str = field(compare=False)


class Stability:
    """Watches the bonds of a structure. Source: the paper, A.9; Fu et al. 2022.

    atoms: at the start, whose bonds are watched; tolerance: Å, by which the length of a bond may deviate from its
    equilibrium (eq. 51); contact: two atoms are in contact if they are nearer than this fraction of the sum of their
    covalent radii; equilibrium: lengths in Å by the kind of the bond (`equilibrium_lengths`), instead of which the
    length at the start counts for kinds that are not among them; shortest: Å, nearer than which two atoms are in
    contact whatever they are, except two hydrogen atoms that are bonded at the start.
    """

    def __init__(
        self,
        atoms: Atoms,
        tolerance: float,
        contact: float,
        equilibrium: Mapping[str, float],
        shortest: float = 0.0,
    ) -> None:
        self.tolerance, self.contact, self.known, self.shortest = tolerance, contact, equilibrium, shortest
        numbers, bonds = atoms.numbers, bonds_of(atoms)
        self.of_hydrogen = {bond for bond in as_set(bonds) if numbers[list(bond[:2])].max() == 1}
        self._take_bonds(atoms, bonds)
        self.molecules = count_molecules(len(atoms), self.bonds)

    def deviation(self, atoms: Atoms) -> float:
        """The largest deviation of a bond length from its equilibrium in Å, infinite if a position is not finite."""
        if not np.isfinite(atoms.positions).all():
            return float("inf")
        return float(np.abs(self._deviations(atoms)).max(initial=0.0))

    def events(self, atoms: Atoms) -> list[Event]:
        """What is wrong with the structure now. After a rearrangement its new bonds are watched."""
        astray = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
        if len(astray):
            return [Event(NOT_FINITE, tuple(astray.tolist()), f"positions of {len(astray)} atoms are not finite")]
        held = bonds_of(atoms, HELD)
        found = self._contacts(atoms, held)
        off = np.abs(self._deviations(atoms)) > self.tolerance
        if count_molecules(len(atoms), held) > self.molecules:
            found.append(self._fragments(atoms, held))
        elif off.any():
            found.append(self._rearrangement(atoms, off) or self._deviation(atoms, off))
        return found

    def _contacts(self, atoms: Atoms, held: Pairs) -> list[Event]:
        apart = lengths(held, atoms.positions, atoms.cell.array)
        limits = self.contact * sums_of_radii(atoms.numbers, held)
        near = [
            place
            for place in np.flatnonzero(apart < np.maximum(limits, self.shortest)).tolist()
            if apart[place] < limits[place] or not as_set(held, place) & self.of_hydrogen
        ]
        return [
            Event(CONTACT, pair, f"{label(atoms, pair[0])} and {label(atoms, pair[1])} are {apart[place]:.2f} Å apart")
            for place in near
            for pair in [tuple(held.atoms[place].tolist())]
        ]

    def _fragments(self, atoms: Atoms, held: Pairs) -> Event:
        """The bond between two fragments that deviates most, or the smallest fragment where no bond is between any."""
        fragment = molecules(len(atoms), held)
        first, second = self.bonds.atoms.T
        between = fragment[first] != fragment[second]
        count = f"{len(np.unique(fragment))} molecules instead of {self.molecules}"
        if not between.any():
            names, sizes = np.unique(fragment, return_counts=True)
            smallest = np.flatnonzero(fragment == names[sizes.argmin()])
            return Event(FRAGMENTS, tuple(smallest.tolist()), count)
        worst = int(np.where(between, np.abs(self._deviations(atoms)), -1).argmax())
        return Event(FRAGMENTS, self._ends(worst), f"{count}: {self._describe(atoms, worst)}")

    def _rearrangement(self, atoms: Atoms, off: np.ndarray) -> Event | None:
        """Bonds that are given up for others, where no molecule is added; the others are watched from now on."""
        now = bonds_of(atoms)
        before, after = as_set(self.bonds), as_set(now)
        lost = [place for place in np.flatnonzero(off).tolist() if as_set(self.bonds, place) - after]
        if not lost or count_molecules(len(atoms), now) > self.molecules:
            return None
        gained = sorted({bond[:2] for bond in after - before})
        parts = [self._describe(atoms, place) for place in lost]
        parts += [f"{label(atoms, i)}-{label(atoms, j)} is formed" for i, j in gained]
        ends = sorted(
            {atom for place in lost for atom in self._ends(place)} | {atom for bond in gained for atom in bond}
        )
        self._take_bonds(atoms, now)
        return Event(REARRANGEMENT, tuple(ends), ", ".join(parts))

    def _deviation(self, atoms: Atoms, off: np.ndarray) -> Event:
        worst = int(np.abs(self._deviations(atoms)).argmax())
        more = f", the most of {off.sum()} bonds that deviate" if off.sum() > 1 else ""
        return Event(DEVIATION, self._ends(worst), self._describe(atoms, worst) + more)

    def _take_bonds(self, atoms: Atoms, bonds: Pairs) -> None:
        self.bonds = bonds
        present, named = lengths(bonds, atoms.positions, atoms.cell.array), kinds(atoms.numbers, bonds)
        self.equilibrium = np.array([self.known.get(kind, now) for kind, now in zip(named, present, strict=True)])
        self.from_training = sum(kind in self.known for kind in named)  # bonds whose length is that of their kind

    def _deviations(self, atoms: Atoms) -> np.ndarray:
        return lengths(self.bonds, atoms.positions, atoms.cell.array) - self.equilibrium

    def _ends(self, place: int) -> tuple[int, ...]:
        return tuple(self.bonds.atoms[place].tolist())

    def _describe(self, atoms: Atoms, place: int) -> str:
        (i, j), right = self._ends(place), self.equilibrium[place]
        length = right + self._deviations(atoms)[place]
        return f"the bond {label(atoms, i)}-{label(atoms, j)} is {length:.2f} Å long, {right:.2f} Å in equilibrium"


def bonds_of(atoms: Atoms, *reach: float) -> Pairs:
    """The bonds of a structure; see `find_bonds`."""
    return find_bonds(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, *reach)


def label(atoms: Atoms, index: int) -> str:
    """An atom in messages: element and index, counted from 0."""
    return f"{atoms.symbols[index]}{index}"


def as_set(bonds: Pairs, place: int | None = None) -> set[tuple[int, ...]]:
    """Bonds, or one of them, as atoms and image."""
    rows = np.hstack([bonds.atoms, bonds.images]) if len(bonds.images) else bonds.atoms
    return set(map(tuple, (rows if place is None else rows[[place]]).tolist()))


def molecules(count: int, pairs: Pairs) -> np.ndarray:
    """[N] for each of so many atoms the lowest index of those that pairs connect it with."""
    names, (first, second) = np.arange(count), pairs.atoms.T
    while (names[first] != names[second]).any():
        lowest = np.minimum(names[first], names[second])
        np.minimum.at(names, first, lowest)
        np.minimum.at(names, second, lowest)
        names = names[names]
    return names


def count_molecules(count: int, pairs: Pairs) -> int:
    """How many molecules the pairs make of so many atoms; a crystal is one."""
    return len(np.unique(molecules(count, pairs)))

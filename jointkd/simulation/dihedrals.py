"""Dihedral angles of molecules: which atoms turn about a bond, and structures in which they have turned."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from ase import Atoms

from jointkd.errors import ConfigError, DataError
from jointkd.simulation.stability import as_set, bonds_of, label, molecules
from jointkd.structures.neighbors import Pairs

STRAIGHT = 1e-3  # sine of an angle of three atoms below which they define no plane


@dataclass(frozen=True)
class Dihedral:
    """Four bonded atoms i–j–k–l, and the atoms that turn with l about the bond j–k."""

    atoms: tuple[int, int, int, int]  # counted from 0
    turning: np.ndarray  # [M] the atoms on the side of k

    @classmethod
    def of(cls, structure: Atoms, atoms: Sequence[int], place: str) -> "Dihedral":
        """The dihedral of four atoms of a molecule. place: names the structure in messages.

        Raises ConfigError for atoms that are repeated, not there or not bonded, or whose bond is part of a ring, and
        DataError for a structure that is periodic, or in which three of them lie on a line.
        """
        four = checked(structure, atoms, place)
        bonds = bonds_of(structure)
        bonded = set(map(tuple, bonds.atoms.tolist()))
        for pair in pairwise(four):
            if tuple(sorted(pair)) not in bonded:
                first, second = (label(structure, atom) for atom in pair)
                raise ConfigError(
                    f"dihedral={list(four)}: {first} and {second} of {place} are not bonded "
                    f"({structure.get_distance(*pair):.2f} Å apart)",
                    "give four atoms in the order in which they are bonded, counted from 0",
                )
        turning = side_of(len(structure), bonds, four[1], four[2])
        if turning is None:
            ends = "–".join(label(structure, atom) for atom in four[1:3])
            raise ConfigError(
                f"dihedral={list(four)}: the bond {ends} of {place} is part of a ring, which a rotation would break",
                "choose a bond that is not part of a ring",
            )
        for three in (four[:3], four[1:]):
            if np.sin(np.radians(structure.get_angle(*three))) < STRAIGHT:
                names = ", ".join(label(structure, atom) for atom in three)
                raise DataError(f"{place}: {names} lie on a line, so the dihedral is undefined", "choose other atoms")
        return cls(four, turning)

    def angle(self, structure: Atoms) -> float:
        """The angle, from 0 to below 360 degrees."""
        return float(structure.get_dihedral(*self.atoms)) % 360.0

    def turned(self, structure: Atoms, angle: float) -> Atoms:
        """A copy in which the atoms of one side have been turned rigidly until the dihedral is `angle` (degrees)."""
        copy = structure.copy()
        copy.set_dihedral(*self.atoms, angle, indices=self.turning.tolist())
        return copy

    def describe(self, structure: Atoms) -> str:
        """The four atoms, as C3-C4-O5-H9."""
        return "-".join(label(structure, atom) for atom in self.atoms)


def checked(structure: Atoms, atoms: Sequence[int], place: str) -> tuple[int, int, int, int]:
    """Four different atoms of a molecule. Raises ConfigError, DataError."""
    remedy = "give four atoms as dihedral=[i,j,k,l], counted from 0"
    if len(atoms) != 4 or not all(isinstance(atom, int) and not isinstance(atom, bool) for atom in atoms):
        raise ConfigError(f"dihedral={list(atoms)} must be four integers", remedy)
    if absent := [atom for atom in atoms if not 0 <= atom < len(structure)]:
        raise ConfigError(
            f"dihedral={list(atoms)}: {place} has {len(structure)} atoms, but no atom {absent[0]}", remedy
        )
    if len(set(atoms)) < 4:
        raise ConfigError(f"dihedral={list(atoms)} names an atom twice", remedy)
    check_molecule(structure, place)
    i, j, k, l = atoms  # noqa: E741
    return i, j, k, l


def check_molecule(structure: Atoms, place: str) -> None:
    """Raise DataError for a structure that is periodic."""
    if structure.pbc.any():
        raise DataError(f"{place} is periodic, and dihedrals are turned in molecules", "give it without pbc")


def side_of(count: int, bonds: Pairs, fixed: int, end: int) -> np.ndarray | None:
    """[M] the atoms connected with `end` once the bond between `fixed` and `end` is removed, in ascending order.

    None where `fixed` is among them: the bond is part of a ring. count: of atoms.
    """
    others = bonds.atoms[~((bonds.atoms == min(fixed, end))[:, 0] & (bonds.atoms == max(fixed, end))[:, 1])]
    names = molecules(count, Pairs(others, np.zeros((0, 3), dtype=np.int64)))
    return None if names[fixed] == names[end] else np.flatnonzero(names == names[end])


def collisions(structures: Sequence[Atoms], start: Atoms) -> int:
    """In how many structures atoms that are not bonded in `start` are within the distance of a bond."""
    bonds = as_set(bonds_of(start))
    return sum(bool(as_set(bonds_of(atoms)) - bonds) for atoms in structures)


def rotatable(structure: Atoms) -> Iterator[Dihedral]:
    """A dihedral for each bond of a molecule that is not part of a ring and whose ends both have other bonds.

    Its first and last atom are the heaviest neighbours, of equal ones the first. Bonds at a linear end are left out.
    """
    bonds = bonds_of(structure)
    for j, k in bonds.atoms.tolist():
        ends = []
        for here, other in ((j, k), (k, j)):
            near = {*bonds.atoms[(bonds.atoms == here).any(axis=1)].flatten().tolist()} - {here, other}
            bent = [n for n in near if np.sin(np.radians(structure.get_angle(n, here, other))) >= STRAIGHT]
            ends.append(min(bent, key=lambda atom: (-structure.numbers[atom], atom), default=None))
        turning = side_of(len(structure), bonds, j, k)
        if turning is not None and ends[0] is not None and ends[1] is not None:
            yield Dihedral((ends[0], j, k, ends[1]), turning)

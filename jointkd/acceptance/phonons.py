"""Phonons of a crystal from rows of the Hessian of a supercell.

The rows of the atoms of one cell hold all force constants. At the wave vectors that fit into the supercell, sums over
its cells are exact for the infinite crystal, however far forces reach, because all images of an atom then move alike.
So the size of the supercell decides how many wave vectors are looked at, and nothing else.
"""

import numpy as np
from ase import Atoms

from jointkd.acceptance.vibrations import wavenumbers
from jointkd.errors import DataError
from jointkd.structures.cells import heights


def repeats_of(crystal: Atoms, length: float, most_atoms: int) -> tuple[int, int, int]:
    """How often a cell is repeated, so that lattice planes a supercell apart are at least `length` Å from each other.

    Less often where that would be more than `most_atoms`.
    """
    apart = heights(crystal.cell.array)
    repeats = np.ceil(length / apart).astype(int)
    while len(crystal) * repeats.prod() > most_atoms and repeats.max() > 1:
        repeats[np.where(repeats > 1, repeats * apart, 0).argmax()] -= 1
    first, second, third = repeats.tolist()
    return first, second, third


def phonons(rows: np.ndarray, crystal: Atoms, repeats: tuple[int, int, int]) -> np.ndarray:
    """[Q, 3N] cm⁻¹, ascending at each wave vector; imaginary ones negative.

    rows [3N, 3N · Q] eV/Å²: the first rows of the Hessian of `crystal.repeat(repeats)`. The wave vectors are the Q that
    fit into it, the first of them Γ. The force on an atom is made the opposite of those on all others, as it must be.
    Raises DataError for rows that are not finite.
    """
    if not np.isfinite(rows).all():
        raise DataError("there are rows of the Hessian that are not finite", "choose another structure")
    size = len(crystal)
    cells = np.array(list(np.ndindex(repeats)))  # in the order of `repeat`
    constants = np.array(rows, dtype=float).reshape(size, 3, len(cells), size, 3)
    constants[np.arange(size), :, 0, np.arange(size)] -= constants.sum(axis=(2, 3))
    phases = np.exp(2j * np.pi * (cells / np.array(repeats)) @ cells.T)
    matrices = np.einsum("qp,iapjb->qiajb", phases, constants).reshape(len(cells), 3 * size, 3 * size)
    masses = np.repeat(crystal.get_masses(), 3)
    matrices /= np.sqrt(np.outer(masses, masses))
    return wavenumbers(np.linalg.eigvalsh((matrices + matrices.conj().swapaxes(1, 2)) / 2))

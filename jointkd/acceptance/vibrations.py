"""Vibrational frequencies of a Hessian, without those of the structure as a rigid body."""

import numpy as np
from ase import Atoms, units

RIGID = 1e-3  # Å; a molecule that is thinner than this is linear


def frequencies(hessian: np.ndarray, atoms: Atoms) -> np.ndarray:
    """[M] cm⁻¹, ascending; imaginary ones negative. hessian [3N, 3N] eV/Å².

    Translations are projected out and, of a structure that is not periodic, rotations.
    """
    masses = np.repeat(atoms.get_masses(), 3)
    inner = vibrations_of(atoms)
    weighted = hessian / np.sqrt(np.outer(masses, masses))
    return wavenumbers(np.linalg.eigvalsh(inner.T @ (weighted + weighted.T) / 2 @ inner))


def wavenumbers(squares: np.ndarray) -> np.ndarray:
    """cm⁻¹ of squared frequencies, eV/Å²/u; those of negative squares are imaginary, and given as negative numbers."""
    to_wavenumbers = units._hbar * units.m / np.sqrt(units._e * units._amu) / units.invcm  # of √(eV/Å²/u)
    return np.sign(squares) * np.sqrt(np.abs(squares)) * to_wavenumbers


def vibrations_of(atoms: Atoms) -> np.ndarray:
    """[3N, M] an orthonormal basis of mass-weighted displacements without those of the rigid body."""
    roots = np.sqrt(atoms.get_masses())
    rigid = [np.outer(roots, axis).flatten() for axis in np.eye(3)]
    if not atoms.pbc.any():
        arms = atoms.positions - atoms.get_center_of_mass()
        rigid += [(roots[:, None] * np.cross(axis, arms)).flatten() for axis in np.eye(3)]
    left, sizes, _ = np.linalg.svd(np.array(rigid).T)
    rank = int((sizes > RIGID * sizes[0]).sum())
    return left[:, rank:]

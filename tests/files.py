"""Small data files and frames that many tests share."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.io import write

from jointkd.structures.frame import Frame

FREE = {1: -13.0, 6: -1030.0, 8: -2040.0}  # eV, about what DFT gives a free atom
STIFFNESS = 20.0  # eV/Å²
NAMES = ("H2O", "CH3OH", "CH4")


def molecules(count: int, seed: int = 0) -> list[Atoms]:
    """Displaced water, methanol and methane, in turn, with smooth made-up energies (eV) and forces (eV/Å)."""
    rng = np.random.default_rng(seed)
    structures = []
    for number in range(count):
        atoms = molecule(NAMES[number % len(NAMES)])
        displacement = rng.normal(scale=0.05, size=atoms.positions.shape)
        atoms.positions += displacement
        free = sum(FREE[z] for z in atoms.numbers)
        atoms.info["REF_energy"] = float(free - 4 * len(atoms) + 5 * (displacement**2).sum())
        atoms.info["molecule"] = NAMES[number % len(NAMES)]
        atoms.arrays["REF_forces"] = -10 * displacement
        structures.append(atoms)
    return structures


def isolated(energies: dict[int, float] = FREE) -> list[Atoms]:
    """Isolated atoms as frames of a file, with energies and without forces."""
    return [Atoms([z], info={"REF_energy": energy, "config_type": "IsolatedAtom"}) for z, energy in energies.items()]


def saved(path: Path, atoms: list[Atoms]) -> Path:
    """The path of a new extended XYZ file."""
    write(path, atoms, format="extxyz")
    return path


def frames(count: int, seed: int = 0) -> list[Frame]:
    """The molecules as frames."""
    return [
        Frame(
            atoms.numbers.astype(np.int64),
            atoms.positions,
            energy=atoms.info["REF_energy"],
            forces=atoms.arrays["REF_forces"],
            group=atoms.info["molecule"],
            source=f"frame {number}",
        )
        for number, atoms in enumerate(molecules(count, seed))
    ]


def springs(count: int = 12, displacement: float = 0.1, seed: int = 0) -> list[Frame]:
    """Conformations of a bent molecule whose three distances are springs, each turned and shifted at random."""
    rng = np.random.default_rng(seed)
    base = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0.0]])
    some = []
    for _ in range(count):
        positions = base + rng.normal(scale=displacement, size=(3, 3))
        energy, forces = -2000.0, np.zeros((3, 3))
        for i, j in ((0, 1), (0, 2), (1, 2)):
            vector = positions[j] - positions[i]
            length, rest = np.linalg.norm(vector), np.linalg.norm(base[j] - base[i])
            energy += STIFFNESS * (length - rest) ** 2 / 2
            pull = STIFFNESS * (length - rest) * vector / length
            forces[i] += pull
            forces[j] -= pull
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        turn[0] *= np.sign(np.linalg.det(turn))
        some.append(
            Frame(
                np.array([8, 1, 1]), positions @ turn + rng.normal(size=3), energy=float(energy), forces=forces @ turn
            )
        )
    return some

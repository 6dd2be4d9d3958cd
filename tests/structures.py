"""Small structures and students that many tests share."""

from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule

from jointkd.neighbors import neighbors
from jointkd.structure import Structure, collate

CUTOFF = 4.0


def rattled(atoms: Atoms, seed: int, size: float = 0.1) -> Atoms:
    """A copy with displaced atoms, so that no symmetry hides a mistake."""
    copy = atoms.copy()
    copy.positions += np.random.default_rng(seed).normal(scale=size, size=copy.positions.shape)
    return copy


ETHANOL = rattled(molecule("CH3CH2OH"), 1)
WATER = rattled(molecule("H2O"), 2)
SALT = rattled(bulk("NaCl", "rocksalt", a=5.6), 3)
MOLECULES = [ETHANOL, WATER, rattled(molecule("CH3CONH2"), 4)]


def structure(atoms: Atoms, cutoff: float = CUTOFF, **fields: Any) -> Structure:
    """A structure with neighbours, in float64."""
    return Structure(
        atomic_numbers=torch.from_numpy(atoms.numbers),
        positions=torch.from_numpy(atoms.positions.copy()),
        cell=torch.from_numpy(atoms.cell.array)[None],
        pbc=torch.from_numpy(atoms.pbc)[None],
        **neighbors(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)._asdict(),
        num_nodes=len(atoms),
        **fields,
    )


def batch_of(*many: Atoms, cutoff: float = CUTOFF) -> Any:
    """A batch in float64."""
    return collate([structure(atoms, cutoff) for atoms in many], torch.float64)


def labelled(atoms: Atoms, rows: int, seed: int = 0) -> Structure:
    """A structure with random labels of every kind."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    count = len(atoms)
    return structure(
        atoms,
        energy=random(1),
        forces=random(count, 3),
        teacher_atomic_energies=random(count),
        hessian_rows=random(count, rows, 3),
        row_ids=torch.randperm(3 * count, generator=generator)[:rows][None],
    )

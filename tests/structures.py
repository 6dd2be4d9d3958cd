"""Small structures and students that many tests share."""

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from jointkd.structures.batch import TENSORS, Structure, collate
from jointkd.structures.neighbors import neighbors

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

TRICLINIC = [[4.0, 0.0, 0.0], [1.5, 3.5, 0.0], [-0.7, 0.9, 5.0]]
PEROVSKITE = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
OBLIQUE = np.array([[1.0, 2.0, -2.0]]) / 3
SPECIAL = {  # where symmetry, or a want of neighbours, makes roots, angles and norms singular
    **{name: molecule(name) for name in ("CO2", "HCN", "C2H2", "O2")},
    "chain of four": Atoms("OCCS", np.array([[-1.2], [0.0], [1.3], [2.8]]) * OBLIQUE),
    "SrTiO3": Atoms("SrTiO3", scaled_positions=PEROVSKITE, cell=[3.905] * 3, pbc=True),
    "NaCl": bulk("NaCl", "rocksalt", a=5.64),
    "diamond": bulk("C", "diamond", a=3.567),
    "Cu, one atom a cell": bulk("Cu", "fcc", a=3.61),
    "two atoms in a small cell": Atoms("HF", [[0, 0, 0], [0.3, 0.9, 0.1]], cell=[2.5, 2.6, 2.7], pbc=True),
    "triclinic": Atoms("H2O", [[0, 0, 0], [2, 1, 3], [1, 3, 0.5]], cell=TRICLINIC, pbc=True),
    "slab": fcc111("Al", (1, 1, 2), vacuum=5),
    "wire": Atoms("HF", [[0, 0, 0], [1, 0, 0]], cell=[2.3, 0, 0], pbc=[True, False, False]),
    "atom": Atoms("H"),
    "atom in a large cell": Atoms("Cl", cell=[30.0] * 3, pbc=True),
    "two atoms without edges": Atoms("HO", [[0, 0, 0], [0, 0, 30.0]]),
}


def structure(atoms: Atoms, cutoff: float = CUTOFF, **labels: torch.Tensor) -> Structure:
    """A structure with neighbours, in float64."""
    found = neighbors(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    return Structure.from_arrays(atoms.numbers, atoms.positions.copy(), found, **labels)


def batch_of(*many: Atoms, cutoff: float = CUTOFF) -> Structure:
    """A batch in float64."""
    return collate([structure(atoms, cutoff) for atoms in many], torch.float64)


def equal(ours: Structure, theirs: Structure) -> bool:
    """Whether all tensors are the same, bit by bit, and in the same dtypes."""
    pairs = [(getattr(ours, name), getattr(theirs, name)) for name in TENSORS]
    return all(a is b is None or (a.dtype == b.dtype and torch.equal(a, b)) for a, b in pairs)


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

"""The small molecules and crystals that contracts are checked on."""

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from jointkd.structures.batch import Structure
from jointkd.structures.frame import Frame
from jointkd.structures.neighbors import neighbors

CUTOFF = 4.0  # Å, of students that are built for a contract: short, so that crystals have few edges

ROTATION = np.array([[6, -3, 2], [2, 6, 3], [-3, -2, 6]]) / 7  # by 38° about an oblique axis


def rattled(atoms: Atoms, seed: int, size: float = 0.1) -> Atoms:
    """A copy with displaced atoms, so that no symmetry hides a mistake. size: Å, the standard deviation."""
    copy = atoms.copy()
    copy.positions += np.random.default_rng(seed).normal(scale=size, size=copy.positions.shape)
    return copy


def with_elements_up_to(highest: int, atoms: Atoms) -> Atoms:
    """A copy in which elements beyond an atomic number are replaced by lighter ones, for models that know few."""
    copy = atoms.copy()
    copy.numbers = (copy.numbers - 1) % highest + 1
    return copy


def turned(atoms: Atoms, matrix: np.ndarray) -> Atoms:
    """A copy whose positions and cell are rotated or reflected by an orthogonal matrix [3, 3]."""
    return Atoms(atoms.numbers, atoms.positions @ matrix.T, cell=atoms.cell.array @ matrix.T, pbc=atoms.pbc)


ETHANOL = rattled(molecule("CH3CH2OH"), 1)
WATER = rattled(molecule("H2O"), 2)
SALT = rattled(bulk("NaCl", "rocksalt", a=5.6), 3)
ACETAMIDE = rattled(molecule("CH3CONH2"), 4)
PEROXIDE = rattled(molecule("H2O2"), 5)
COPPER = rattled(bulk("Cu", cubic=True), 7)

TRICLINIC = [[4.0, 0.0, 0.0], [1.5, 3.5, 0.0], [-0.7, 0.9, 5.0]]  # Å, the vectors of a cell
PEROVSKITE = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
OBLIQUE = np.array([[1.0, 2.0, -2.0]]) / 3
WITHOUT_EDGES = {
    "atom": Atoms("H"),
    "atom in a large cell": Atoms("Cl", cell=[30.0] * 3, pbc=True),
    "two atoms without edges": Atoms("HO", [[0, 0, 0], [0, 0, 30.0]]),
}
SPECIAL = {  # symmetry or missing neighbours make roots, angles and norms singular in some of these
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
    **WITHOUT_EDGES,
}
CRYSTAL = rattled(SPECIAL["triclinic"], 6)


def structure(
    atoms: Atoms, cutoff: float = CUTOFF, max_neighbors: int | None = None, **labels: torch.Tensor
) -> Structure:
    """A structure in float64 with its neighbours within a cutoff (Å). labels: fields from `energy` to `probes`."""
    edges = neighbors(atoms.positions, atoms.cell.array, atoms.pbc, cutoff, max_neighbors)
    return Structure.from_arrays(atoms.numbers, atoms.positions.copy(), edges, **labels)


def frame(atoms: Atoms) -> Frame:
    """A structure without labels, as teachers take it."""
    return Frame(atoms.numbers.copy(), atoms.positions.copy(), atoms.cell.array.copy(), np.array(atoms.pbc))

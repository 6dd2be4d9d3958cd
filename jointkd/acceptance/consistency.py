"""What holds for every potential energy surface: extensivity, forces that are its gradient, and its symmetries."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from jointkd.acceptance.gate import Gate, at_most
from jointkd.acceptance.options import ConsistencyLimits
from jointkd.deploy.model import Model
from jointkd.deploy.replicas import ReplicaEvaluator, ReplicaResults

FAR = 100.0  # Å, between two copies of a molecule
STEP = 1e-4  # Å, of finite differences: in double precision their error is far below the thresholds


def consistency(model: Model, structures: Sequence[Atoms], limits: ConsistencyLimits, seed: int) -> list[Gate]:
    """The gates, of the largest difference of the first few structures. model: in double precision."""
    rng = np.random.default_rng(seed)
    few = structures[: limits.structures]
    where = f"largest of {len(few)} structures"
    extensive = max(extensivity_error(model, atoms) for atoms in few)
    forces = max(force_error(model, atoms, rng) for atoms in few)
    errors = [symmetry_errors(model, atoms, rng) for atoms in few]
    energies, turned = (max(each) for each in zip(*errors, strict=True))
    said = f"{where}; energies differ by {energies:.2g} meV/atom"
    return [
        at_most("extensivity", extensive, limits.extensivity, "meV/atom", f"{where}, of two copies against one"),
        at_most(
            "force consistency", forces, limits.forces, "meV/Å", f"{where}, against finite differences of the energy"
        ),
        at_most("rotation and permutation", turned, limits.symmetry, "meV/Å", said),
    ]


def extensivity_error(model: Model, atoms: Atoms) -> float:
    """meV/atom: two copies of a molecule far apart, or a doubled cell, against twice the energy of one."""
    atoms = atoms.copy()
    atoms.set_constraint()  # ASE repeats no structure whose centre of mass is fixed
    if atoms.pbc.any():
        both = atoms.repeat([2 if axis == np.argmax(atoms.pbc) else 1 for axis in range(3)])
    else:
        both = atoms + atoms.copy()
        both.positions[len(atoms) :, 0] += np.ptp(atoms.positions[:, 0]) + FAR
    one, two = (float(evaluated(model, [each]).energies[0]) for each in (atoms, both))
    return 1000 * abs(two - 2 * one) / len(both)


def force_error(model: Model, atoms: Atoms, rng: np.random.Generator) -> float:
    """meV/Å: the force along a random direction of unit length against a central difference of the energy."""
    direction = rng.standard_normal((len(atoms), 3))
    direction /= np.linalg.norm(direction)
    copies = [atoms, atoms.copy(), atoms.copy()]
    for copy, sign in zip(copies[1:], (1, -1), strict=True):
        copy.set_positions(copy.positions + sign * STEP * direction, apply_constraint=False)
    results = evaluated(model, copies)
    numerical = -(results.energies[1] - results.energies[2]) / (2 * STEP)
    return float(1000 * abs((results.forces[: len(atoms)] * direction).sum() - numerical))


def symmetry_errors(model: Model, atoms: Atoms, rng: np.random.Generator) -> tuple[float, float]:
    """Differences of the energy (meV/atom) and the forces (meV/Å) of a structure that is rotated and reordered."""
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    order = rng.permutation(len(atoms))
    turned = Atoms(
        atoms.numbers[order], atoms.positions[order] @ rotation, cell=atoms.cell.array @ rotation, pbc=atoms.pbc
    )
    results = evaluated(model, [atoms, turned])
    forces, others = np.split(results.forces, 2)
    energy = 1000 * abs(results.energies[1] - results.energies[0]) / len(atoms)
    return float(energy), float(1000 * np.abs(others - forces[order] @ rotation).max())


def evaluated(model: Model, structures: Sequence[Atoms]) -> ReplicaResults:
    """Energies and forces of some structures."""
    return ReplicaEvaluator(model, structures)(np.concatenate([atoms.positions for atoms in structures]))

"""Checks of labels by the conditions that hold for every force field whose forces are derivatives of its energy."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from jointkd.labels.directions import components
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.structures.frame import Frame

SMALLEST_SCALE = 1.0  # eV/Å²; least scale of relative errors: rows with small entries are rounded like others
SMALLEST_FORCE = 0.2  # eV/Å; least scale of relative errors: near a minimum energies hardly change
DIRECTIONS = 2  # number of random displacements along which rows are compared with finite differences of forces


@dataclass(frozen=True)
class Bounds:
    """The largest errors at which labels still pass the checks."""

    acoustic: float  # sum of a row over the atoms, relative to the largest entry of the row
    symmetry: float  # H_rc − H_cr, relative to the largest entry
    energy: float  # eV per atom; sum of the atomic energies minus the energy
    differences: float  # rows times a displacement minus finite differences of forces, relative to the largest entry
    step: float  # Å; the largest component of that displacement


# The largest errors of all rows, of the demo teacher on 12 of its molecules, 4 of them in a periodic box:
#                acoustic  symmetry  energy  differences
#   float64       7e-16     3e-16    < 1e-9     9e-10
#   float32       3e-07     2e-07    < 1e-9     2e-4
#   differences   7e-13     2e-03      –        3e-3    (tblite's GFN2-xTB at accuracy 1 on 4 molecules; EMT on Cu4)
# Larger teachers sum more numbers and round more, hence the margin. The bounds are to detect a wrong sign, unit, atom
# or axis, a detached autograd graph, and forces that are not derivatives; all of these cause errors of 1e-2 and more.
# In float64 the step is small enough to avoid the jumps of the energy of AllScAIP models, where neighbours change: a
# displacement of 80 atoms by 1e-3 Å meets about one jump, 24 displacements by 1e-4 Å met none.
# "differences" holds for teachers whose rows are finite differences of forces, of iterative calculators.
BOUNDS = {
    "float64": Bounds(acoustic=1e-9, symmetry=1e-9, energy=1e-8, differences=1e-3, step=1e-5),
    "float32": Bounds(acoustic=1e-4, symmetry=1e-4, energy=1e-4, differences=1e-2, step=3e-3),
    "differences": Bounds(acoustic=1e-2, symmetry=2e-2, energy=1e-4, differences=5e-2, step=1e-2),
}


def first_violation(labels: TeacherLabels, frame: Frame, teacher: TeacherIdentity, bounds: Bounds) -> str | None:
    """The first condition that the labels of a structure violate, with the error and its bound; None if they hold."""
    if not labels.finite():
        return "the teacher's labels are not finite"
    checks = {
        "Hessian rows do not sum to zero over the atoms": (acoustic_error(labels), bounds.acoustic),
        "the Hessian is not symmetric": (asymmetry(labels), bounds.symmetry),
        "atomic energies do not sum to the energy": (energy_error(labels, frame, teacher), bounds.energy),
    }
    for problem, (error, bound) in checks.items():
        if error > bound:
            return f"{problem} (off by {error:.1e}, bound {bound:.0e})"
    return None


def acoustic_error(labels: TeacherLabels) -> float:
    """The largest |Σ_atoms row|, relative to the largest entry of the row; 0 by translational invariance."""
    rows = labels.hessian_rows.astype(np.float64)
    if not rows.size:
        return 0.0
    scale = np.maximum(np.abs(rows).max((1, 2)), SMALLEST_SCALE)
    return float((np.abs(rows.sum(1)).max(1) / scale).max())


def asymmetry(labels: TeacherLabels) -> float:
    """The largest |H_rc − H_cr| of rows (or probes) r and c that are both labelled, relative to the largest entry."""
    if not labels.hessian_rows.size:
        return 0.0
    rows = labels.hessian_rows.astype(np.float64)
    square = components(rows, labels.directions)
    return float(np.abs(square - square.T).max() / max(np.abs(rows).max(), SMALLEST_SCALE))


def energy_error(labels: TeacherLabels, frame: Frame, teacher: TeacherIdentity) -> float:
    """|Σ_i (atomic energy + free-atom energy) − energy|, in eV per atom; 0 without atomic energies."""
    if not labels.atomic_energies.size:
        return 0.0
    free = teacher.free_atoms_energy(frame.numbers)
    return abs(float(labels.atomic_energies.sum()) + free - labels.energy) / len(frame)


def displacements(frame: Frame, step: float) -> np.ndarray:
    """[DIRECTIONS, N, 3] Å: random displacements, seeded by the structure's key, with `step` as largest component."""
    moves = np.random.default_rng(int(frame.key[:16], 16)).normal(size=(DIRECTIONS, len(frame), 3))
    return step * moves / np.abs(moves).max((1, 2), keepdims=True)


def displaced(frame: Frame, moves: np.ndarray) -> list[Frame]:
    """Copies of a structure displaced by +move and by −move, for each of the moves [M, N, 3] Å."""
    return [
        replace(frame, positions=frame.positions + sign * move, source=f"{frame.source}, displaced")
        for move in moves
        for sign in (1, -1)
    ]


def difference_error(labels: TeacherLabels, moves: np.ndarray, forces: list[np.ndarray]) -> float:
    """The largest |row · move + (F(R + move) − F(R − move))/2|, relative to the largest entry times the largest move.

    moves [M, N, 3] Å; forces: those of the `displaced` structures, each [N, 3] eV/Å. The products are taken with rows,
    so an asymmetric Hessian is an error too.
    """
    rows = labels.hessian_rows.astype(np.float64)
    scale = max(np.abs(rows).max(), SMALLEST_SCALE) * np.abs(moves).max()
    products = np.einsum("kij,mij->mk", rows, moves)
    differences = [-(plus - minus) / 2 for plus, minus in zip(forces[::2], forces[1::2], strict=True)]
    expected = components(np.stack(differences).astype(np.float64), labels.directions)
    return float(np.abs(products - expected).max() / scale)


def force_error(labels: TeacherLabels, moves: np.ndarray, energies: list[float]) -> float:
    """The largest |F · move + (E(R + move) − E(R − move))/2|, relative to the largest |F · move|.

    moves [M, N, 3] Å; energies: those of the `displaced` structures, eV.
    """
    expected = np.einsum("ij,mij->m", labels.forces.astype(np.float64), moves)
    differences = [(plus - minus) / 2 for plus, minus in zip(energies[::2], energies[1::2], strict=True)]
    smallest = SMALLEST_FORCE * np.linalg.norm(moves[0]) / np.sqrt(moves[0].size)
    return float(np.abs(expected + differences).max() / max(np.abs(expected).max(), smallest))


def describe_failures(reasons: Iterable[str]) -> str:
    """The number of failed structures by reason, as text: `2 because the Hessian is not symmetric, 1 because …`."""
    return ", ".join(f"{count} because {reason}" for reason, count in count_failures(reasons).items())


def count_failures(reasons: Iterable[str]) -> dict[str, int]:
    """The number of failed structures by reason, the most frequent first; the error in parentheses is left out."""
    return dict(Counter(reason.split(" (")[0] for reason in reasons).most_common())

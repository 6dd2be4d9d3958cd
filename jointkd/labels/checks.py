"""Whether labels can be true: what must hold for any force field whose forces are derivatives of one energy."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.structures.frame import Frame

SMALLEST_SCALE = 1.0  # eV/Å²; rows of weaker forces are rounded like those of their neighbours
DIRECTIONS = 2  # random displacements along which rows are compared with differences of forces


@dataclass(frozen=True)
class Bounds:
    """How far labels may be from what must hold, before they are taken for wrong."""

    acoustic: float  # sum over the atoms of a row, relative to the row's largest entry
    symmetry: float  # H_rc − H_cr, relative to the largest entry
    energy: float  # eV per atom, the sum of atomic energies less the energy
    differences: float  # rows along a displacement less differences of forces, relative to the largest entry
    step: float  # Å, the largest component of that displacement


# Measured with the demo teacher on 12 of its molecules and 4 of them in a periodic box, all rows, the largest of each:
#                acoustic  symmetry  energy  differences
#   float64       7e-16     3e-16    < 1e-9     9e-10
#   float32       3e-07     2e-07    < 1e-9     2e-4
#   differences   7e-13     2e-03      –        3e-3    (tblite's GFN2-xTB at accuracy 1 on 4 molecules; EMT on Cu4)
# A larger teacher adds more numbers up, and rounds more: hence the room. What the bounds are for is a wrong sign, unit,
# atom or axis, a graph that was cut and a teacher whose forces are no derivatives; those are wrong by 1e-2 and more.
# In float64 the step can be so small that it does not meet the jumps of an AllScAIP model's energy, where neighbours
# change: about once in a displacement of 1e-3 Å of 80 atoms, not at all in 24 of 1e-4 Å.
# `differences` is for teachers whose rows are themselves differences of forces, of calculators that iterate.
BOUNDS = {
    "float64": Bounds(acoustic=1e-9, symmetry=1e-9, energy=1e-8, differences=1e-3, step=1e-5),
    "float32": Bounds(acoustic=1e-4, symmetry=1e-4, energy=1e-4, differences=1e-2, step=3e-3),
    "differences": Bounds(acoustic=1e-2, symmetry=2e-2, energy=1e-4, differences=5e-2, step=1e-2),
}


def flaw(labels: TeacherLabels, frame: Frame, teacher: TeacherIdentity, bounds: Bounds) -> str | None:
    """Why the labels of a structure cannot be true, or None."""
    if not labels.finite():
        return "the teacher's labels are not finite"
    checks = {
        "Hessian rows do not sum to zero over the atoms": (acoustic_error(labels), bounds.acoustic),
        "the Hessian is not symmetric": (asymmetry(labels), bounds.symmetry),
        "atomic energies do not sum to the energy": (energy_error(labels, frame, teacher), bounds.energy),
    }
    for problem, (found, allowed) in checks.items():
        if found > allowed:
            return f"{problem} (off by {found:.1e}, bound {allowed:.0e})"
    return None


def acoustic_error(labels: TeacherLabels) -> float:
    """The largest |Σ_atoms row| relative to the largest entry of that row: moving all atoms changes no force."""
    rows = labels.hessian_rows.astype(np.float64)
    if not rows.size:
        return 0.0
    scale = np.maximum(np.abs(rows).max((1, 2)), SMALLEST_SCALE)
    return float((np.abs(rows.sum(1)).max(1) / scale).max())


def asymmetry(labels: TeacherLabels) -> float:
    """The largest |H_rc − H_cr| of rows r, c that are both there, relative to the largest entry."""
    if not labels.hessian_rows.size:
        return 0.0
    rows = labels.hessian_rows.astype(np.float64).reshape(len(labels.row_ids), -1)
    square = rows[:, labels.row_ids]
    return float(np.abs(square - square.T).max() / max(np.abs(rows).max(), SMALLEST_SCALE))


def energy_error(labels: TeacherLabels, frame: Frame, teacher: TeacherIdentity) -> float:
    """eV per atom: |Σ_i (a_i + free atom of i) − E|; atomic energies are stored without the free atoms'."""
    if not labels.atomic_energies.size:  # a teacher that has none
        return 0.0
    free = sum(teacher.free_atom_energies.get(int(z), 0.0) for z in frame.numbers)
    return abs(float(labels.atomic_energies.sum()) + free - labels.energy) / len(frame)


def displacements(frame: Frame, step: float) -> np.ndarray:
    """[DIRECTIONS, N, 3] Å: random, the same for the same structure; the largest component is `step`."""
    drawn = np.random.default_rng(int(frame.key[:16], 16)).normal(size=(DIRECTIONS, len(frame), 3))
    return step * drawn / np.abs(drawn).max((1, 2), keepdims=True)


def displaced(frame: Frame, moves: np.ndarray) -> list[Frame]:
    """The structure at +move and at −move of each of the moves."""
    return [
        replace(frame, positions=frame.positions + sign * move, source=f"{frame.source}, displaced")
        for move in moves
        for sign in (1, -1)
    ]


def difference_error(labels: TeacherLabels, moves: np.ndarray, forces: list[np.ndarray]) -> float:
    """The largest |row · move + (F(R + move) − F(R − move))/2| of any row, relative to the largest entry · move.

    forces: those of `displaced`, each [N, 3] eV/Å. Rows are compared as rows: symmetry is not taken for granted.
    """
    rows = labels.hessian_rows.astype(np.float64)
    scale = max(np.abs(rows).max(), SMALLEST_SCALE) * np.abs(moves).max()
    found = np.einsum("kij,mij->mk", rows, moves)
    wanted = [-(plus - minus) / 2 for plus, minus in zip(forces[::2], forces[1::2], strict=True)]
    columns = np.stack(wanted).astype(np.float64).reshape(len(moves), -1)[:, labels.row_ids]
    return float(np.abs(found - columns).max() / scale)


def counted(reasons: Iterable[str]) -> str:
    """How many structures failed for which reason: `2 the Hessian is not symmetric, 1 …`."""
    return ", ".join(f"{count} because {reason}" for reason, count in by_reason(reasons).items())


def by_reason(reasons: Iterable[str]) -> dict[str, int]:
    """How many structures failed for which reason, without the numbers of each; the most frequent first."""
    return dict(Counter(reason.split(" (")[0] for reason in reasons).most_common())

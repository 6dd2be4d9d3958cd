"""Functions to label single structures and to compare labels, for the tests of teachers."""

from typing import Any

import numpy as np
from ase import Atoms

from jointkd.labels.records import TeacherLabels
from jointkd.structures.frame import Frame


def frame_of(atoms: Atoms, **info: Any) -> Frame:
    """A structure; info: charge and spin, for instance."""
    return Frame(atoms.numbers, atoms.positions.copy(), atoms.cell.array, atoms.pbc, info=info)


def labels_of(teacher: Any, atoms: Atoms, rows: Any = (), **info: Any) -> TeacherLabels:
    """The labels of one structure, with some Hessian rows, or along an array of directions."""
    directions = rows if isinstance(rows, np.ndarray) else np.array(rows, dtype=int)
    (labels,) = teacher.label([frame_of(atoms, **info)], [directions])
    return labels


def moved(atoms: Atoms, row: int, step: float) -> Atoms:
    """A copy with one coordinate, 3 * atom + axis, changed by `step` (Å)."""
    copy = atoms.copy()
    copy.positions.reshape(-1)[row] += step
    return copy


def agree(actual: TeacherLabels, expected: TeacherLabels, tolerance: float) -> None:
    """Fail unless all labels agree within a tolerance."""
    for name in ("energy", "atomic_energies", "forces", "hessian_rows"):
        np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), rtol=0, atol=tolerance, err_msg=name)
    np.testing.assert_array_equal(actual.directions, expected.directions)

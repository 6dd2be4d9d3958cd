"""Structures, and functions to label and compare them, for the tests of all fairchem teachers."""

from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule

from jointkd.labels.records import TeacherLabels
from jointkd.structures.frame import Frame
from tests.structures import rattled

ETHANOL = rattled(molecule("CH3CH2OH"), 1)
WATER = rattled(molecule("H2O"), 2)
SALT = rattled(bulk("NaCl", "rocksalt", a=5.6), 3)


def frame_of(atoms: Atoms, **info: Any) -> Frame:
    return Frame(atoms.numbers, atoms.positions.copy(), atoms.cell.array, atoms.pbc, info=info)


def labels_of(teacher: Any, atoms: Atoms, rows: Any = (), **info: Any) -> TeacherLabels:
    (labels,) = teacher.label([frame_of(atoms, **info)], [np.array(rows, dtype=int)])
    return labels


def moved(atoms: Atoms, row: int, step: float) -> Atoms:
    copy = atoms.copy()
    copy.positions.reshape(-1)[row] += step
    return copy


def agree(actual: TeacherLabels, expected: TeacherLabels, tolerance: float) -> None:
    for name in ("energy", "atomic_energies", "forces", "hessian_rows"):
        np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), rtol=0, atol=tolerance, err_msg=name)

"""Minima of a potential."""

import warnings
from typing import Any

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from jointkd.errors import DataError

MOST_STEPS = 1000
MOST_CHANGE = 2.0  # of the volume of a cell; what goes further has left the crystal


def relax(atoms: Atoms, largest: float, cell: bool = False) -> None:
    """Move atoms in place until no force exceeds `largest`, eV/Å. atoms: with a calculator; none stays frozen.

    cell: the lattice vectors too; the force on them is the virial per atom, eV. Raises DataError where that fails.
    """
    atoms.set_constraint()
    target: Any = FrechetCellFilter(atoms) if cell else atoms
    name, volume = atoms.get_chemical_formula(), atoms.cell.volume
    left = np.inf
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "logm result may be inaccurate", RuntimeWarning)  # by 1e-12, in the filter
        for _ in BFGS(target, logfile=None).irun(fmax=largest, steps=MOST_STEPS):
            left = float(np.linalg.norm(target.get_forces(), axis=1).max())
            if not np.isfinite(left):
                raise DataError(f"{name} has forces that are not finite", "choose another structure")
            times = atoms.cell.volume / volume if cell else 1.0
            if not 1 / MOST_CHANGE < times < MOST_CHANGE:
                raise DataError(
                    f"the cell of {name} relaxes to {times:.2g} times its volume", "choose another structure"
                )
    if not left <= largest:
        raise DataError(
            f"{name} did not relax to {largest:g} eV/Å in {MOST_STEPS} steps ({left:.2g} are left)",
            "allow a larger force, or choose another structure",
        )


def with_calculator(atoms: Atoms, calculator: Any) -> Atoms:
    """A copy of a structure with a calculator."""
    copy = atoms.copy()
    copy.calc = calculator
    return copy

"""A student that is ready to be called: of its file, or of a package that was exported from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from ase.data import chemical_symbols

from jointkd.deploy.package import is_package, load_package
from jointkd.deploy.pair_form import EagerForm, PairForm
from jointkd.errors import ConfigError, DataError
from jointkd.runtime import device_of
from jointkd.students.base import Student
from jointkd.students.student_file import SavedStudent, load_student, locate_student
from jointkd.students.uncertainty import TraceableUncertainty
from jointkd.trust import Consent

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Model:
    """A student that is ready to be called."""

    form: PairForm
    cutoff: float  # Å
    max_neighbors: int | None
    conservative: bool
    elements: int  # the highest atomic number that it knows
    saved: SavedStudent  # of a package: without weights
    device: str
    dtype: torch.dtype
    student: Student | None = None  # None: the model is a package
    uncertainty: TraceableUncertainty | None = None  # of the student's forces, by its features
    gives_uncertainty: bool = False  # whether the form says how uncertain the force on each atom is


def load_model(path: Path, device: str | None, dtype: str | None, trust: Consent) -> Model:
    """The student of a file, of a run's folder, of the hub, or of a package.

    dtype: None for float32, or the package's own.

    Raises ConfigError for a device that is not here or an unknown dtype, and DataError as `load_student` and
    `load_package` do.
    """
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"dtype={dtype} is not known", "choose float32 or float64")
    path = locate_student(path)
    if is_package(path):
        form, of = load_package(path, device, dtype, trust)
        here = device or of.device
        facts = of.cutoff, of.max_neighbors, of.conservative, of.elements
        return Model(form, *facts, of.saved, here, DTYPES[of.dtype], gives_uncertainty=of.force_uncertainty)
    device, precision = device_of(device), DTYPES[dtype or "float32"]
    module, saved = load_student(path, trust)
    student = cast(Student, module.to(device=device, dtype=precision).eval().requires_grad_(False))
    facts = student.cutoff, student.max_neighbors, student.conservative, student.elements
    uncertainty = None if saved.uncertainty is None else saved.uncertainty.on(device, precision)
    known = uncertainty, uncertainty is not None
    return Model(EagerForm(student, uncertainty), *facts, saved, device, precision, student, *known)


def check_atoms(numbers: np.ndarray, positions: np.ndarray, references: Mapping[int, float], heaviest: int) -> None:
    """Raise DataError for elements on which a student was not trained, and for positions that are not finite.

    numbers [N]; positions [N, 3] Å; references: energies by the atomic numbers that it was trained on, where its file
    has them; heaviest: the highest atomic number that it knows.
    """
    trained = sorted(references) or range(1, heaviest + 1)
    unknown = sorted(set(numbers.tolist()).difference(trained))
    if unknown:
        known = " ".join(chemical_symbols[z] for z in sorted(references)) or f"elements 1 to {trained[-1]}"
        raise DataError(
            f"the student was not trained on {chemical_symbols[unknown[0]]}", f"give structures of {known} only"
        )
    if not np.isfinite(positions).all():
        raise DataError("positions of atoms are not finite", "see to the forces and the size of the step before")

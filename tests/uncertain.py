"""Students whose file says how uncertain their forces are, and what it says by the formula of numpy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from ase import Atoms

from jointkd.students.student_file import load_student, read_student, save_student
from jointkd.students.uncertainty import ForceUncertainty
from tests.structures import ETHANOL, batch_of


def features_of(file: Path, atoms: Atoms) -> np.ndarray:
    """[N, F] in float64, as the student itself predicts them."""
    student, _ = load_student(file)
    batch = batch_of(atoms, cutoff=student.double().cutoff)
    with torch.no_grad():
        return student(batch.positions, batch).features.numpy()


def with_uncertainty(file: Path, scale: float = 1.0) -> Path:
    """The file, with an uncertainty of forces by the features of ethanol with small displacements."""
    atoms, features = ETHANOL.copy(), []
    for seed in range(8):
        atoms.rattle(0.02, seed=seed)
        features.append(features_of(file, atoms))
    uncertainty = ForceUncertainty.of(np.concatenate(features), np.tile(atoms.numbers, 8))
    save_student(file, read_student(file)._replace(uncertainty=replace(uncertainty, scale=scale)))
    return file


def uncertainty_of(file: Path, atoms: Atoms) -> np.ndarray:
    """[N] eV/Å, by the formula of numpy; infinite for elements other than those of ethanol."""
    own = read_student(file).uncertainty
    assert own is not None
    return own(features_of(file, atoms), atoms.numbers)

"""How uncertain a trained student's forces are, from its training and validation structures."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from jointkd.data.datamodule import DistillationData
from jointkd.structures.batch import Structure
from jointkd.students.derivatives import predict
from jointkd.students.uncertainty import ForceUncertainty
from jointkd.training.module import DistillationModule

log = logging.getLogger(__name__)

MOST = 2000  # structures of each split that are looked at, evenly spread


def fit_uncertainty(module: DistillationModule, data: DistillationData) -> ForceUncertainty | None:
    """The uncertainty of a student's forces by the features of training structures, on the scale of validation errors.

    The mean of the uncertainties of validation structures is that of their errors (lengths of vectors). None for a
    student that gives no features.
    """
    train = data.frames["train"]  # not all of them need have reference labels
    if features_of(module, next(data.batches(train, 1, reference=False))) is None:
        return None
    batches = data.batches(train, MOST, reference=False)
    training = [(features_of(module, batch), batch.atomic_numbers) for batch in batches]
    uncertainty = ForceUncertainty.of(*map(np.concatenate, zip(*training, strict=True)))
    distances, errors = [], []
    for batch in data.batches(data.frames["val"], MOST):
        distances.append(uncertainty(features_of(module, batch), batch.atomic_numbers.numpy()))
        errors.append(force_errors(module, batch))
    apart, wrong = np.concatenate(distances), np.concatenate(errors)
    known = np.isfinite(apart)  # not the atoms of an element that is in no training structure
    if not apart[known].any():
        return None
    scale = float(wrong[known].mean() / apart[known].mean())
    log.info("force_uncertainty: %.3f eV/Å on average in validation, as large as the errors there", wrong[known].mean())
    return replace(uncertainty, scale=scale)


def features_of(module: DistillationModule, batch: Structure) -> Any:
    """[N, F] array of a batch; None for a student that gives no features."""
    structure = batch.to(module.device)
    with torch.no_grad():
        features = module.student(structure.positions, structure).features
    return None if features is None else features.double().cpu().numpy()


def force_errors(module: DistillationModule, batch: Structure) -> np.ndarray:
    """[N] eV/Å: the lengths of the differences of forces from the labels."""
    structure = batch.to(module.device)
    forces = predict(module.student, structure).forces
    assert forces is not None
    assert structure.forces is not None
    return (forces.detach() - structure.forces).norm(dim=1).double().cpu().numpy()

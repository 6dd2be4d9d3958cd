"""Reference energies that fit what the student has learned, before its errors are measured."""

from collections.abc import Sequence
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor

from jointkd.data.composition_fit import fit_compositions
from jointkd.data.datamodule import DistillationData
from jointkd.data.references import PRIOR_ERROR
from jointkd.structures.batch import Structure
from jointkd.structures.columns import composition, elements_of, evenly_spread, with_energies
from jointkd.training.module import DistillationModule

MOST = 2000  # training structures that are looked at, evenly spread
ROUNDS = 10  # of fits, after which errors differ by less than 1 % from those after 30
SMALLEST = 0.1  # of the median of what is left: smaller ones have no more weight
TINY = 1e-9  # eV/atom


class ReferenceFit(lightning.Callback):
    """Fits reference energies to what the student leaves of the energies of the training structures of the trainer.

    This is done before each validation, of the weights that are validated, where the reference energies of the data are
    themselves a fit: not free atoms. They do not enter the loss. Without it errors of composition, which training
    removes last, would be most of the energy error of a short training.
    """

    def on_validation_epoch_start(self, trainer: lightning.Trainer, module: Any) -> None:
        data: DistillationData = trainer.datamodule  # type: ignore[attr-defined]
        references = data.references
        if references is None or not references.fitted:
            return
        for number, excess in excess_by_element(module, data).items():
            module.reference_energies[number] = module.data_references[number] - excess


def excess_by_element(module: DistillationModule, data: DistillationData) -> dict[int, float]:
    """eV by atomic number: by how much the student's energies exceed those of training structures."""
    frames = evenly_spread(with_energies(data.frames["train"]), MOST)
    elements = elements_of(frames)
    counts = composition(frames, elements)
    excess = torch.cat([excess_of(module, batch) for batch in data.batches(frames, MOST)]).cpu().numpy()
    sizes = counts.sum(1)
    return least_absolute(counts / sizes[:, None], excess / sizes, elements)


def least_absolute(shares: np.ndarray, excess: np.ndarray, elements: Sequence[int]) -> dict[int, float]:
    """eV by atomic number: what leaves the smallest mean absolute value of `excess`, the measure of the errors.

    shares: [M, elements] of the atoms; excess: [M] eV/atom. Least squares are weighted by the inverse of what the fit
    before has left. What the compositions do not determine is zero.
    """
    weights, zero = np.ones(len(excess)), dict.fromkeys(elements, 0.0)
    for _ in range(ROUNDS):
        energies = fit_compositions(shares * weights[:, None], excess * weights, elements, zero, PRIOR_ERROR).energies
        left = np.abs(excess - shares @ list(energies.values()))
        weights = 1 / np.sqrt(np.maximum(left, SMALLEST * np.median(left) + TINY))
        weights /= weights.mean()
    return energies


def excess_of(module: DistillationModule, batch: Structure) -> Tensor:
    """[B] eV: the student's energies less those of the structures of a batch."""
    structure = batch.to(module.device)
    assert structure.energy is not None
    with torch.no_grad():
        energies = module.student(structure.positions, structure).atomic_energies
    return structure.total_energy(energies.double()) - structure.energy

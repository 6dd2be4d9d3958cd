"""Reference energies that fit what the student has learned, before its errors are measured."""

from typing import Any

import lightning
import torch
from torch import Tensor

from jointkd.data.composition_fit import fit_compositions
from jointkd.data.datamodule import DistillationData
from jointkd.data.references import PRIOR_ERROR
from jointkd.structures.batch import Structure
from jointkd.structures.columns import composition, elements_of, evenly_spread, with_energies
from jointkd.training.module import DistillationModule

MOST = 2000  # training structures that are looked at, evenly spread


class ReferenceFit(lightning.Callback):
    """Fits reference energies by least squares to what the student leaves of the training structures' energies.

    This is done before each validation, of the weights that are validated, where the reference energies of the data are
    themselves a fit: not free atoms. They do not enter the loss. Without it errors of composition, which training
    removes last, would be most of the energy error of a short training.
    """

    def __init__(self, data: DistillationData) -> None:
        self.data = data

    def on_validation_epoch_start(self, trainer: lightning.Trainer, module: Any) -> None:
        references = self.data.references
        if references is None or not references.fitted:
            return
        for number, excess in mean_excess(module, self.data).items():
            module.reference_energies[number] = module.data_references[number] - excess


def mean_excess(module: DistillationModule, data: DistillationData) -> dict[int, float]:
    """eV by atomic number: by how much the student's energies exceed those of training structures, by least squares."""
    frames = evenly_spread(with_energies(data.frames["train"]), MOST)
    elements = elements_of(frames)
    counts = composition(frames, elements)
    excess = torch.cat([excess_of(module, batch) for batch in data.batches(frames, MOST)]).cpu().numpy()
    sizes, none = counts.sum(1), dict.fromkeys(elements, 0.0)
    return fit_compositions(counts / sizes[:, None], excess / sizes, elements, none, PRIOR_ERROR).energies


def excess_of(module: DistillationModule, batch: Structure) -> Tensor:
    """[B] eV: the student's energies less those of the structures of a batch."""
    structure = batch.to(module.device)
    assert structure.energy is not None
    with torch.no_grad():
        energies = module.student(structure.positions, structure).atomic_energies
    return structure.total_energy(energies.double()) - structure.energy

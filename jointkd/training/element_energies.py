"""The energies of the elements in their reference phases, in the data and as a student predicts them."""

from dataclasses import asdict
from typing import Any

import torch
from ase.data import chemical_symbols

from jointkd.data.datamodule import DistillationData
from jointkd.evaluation.formation import ElementEnergy, reference_phases
from jointkd.structures.batch import Structure, collate
from jointkd.structures.frame import Frame
from jointkd.structures.neighbors import neighbors
from jointkd.training.module import DistillationModule


def element_energies(module: DistillationModule, data: DistillationData) -> dict[str, dict[str, Any]]:
    """By chemical symbol the fields of an `ElementEnergy`, of which `formation_energies` is made.

    The reference phase is that structure of the training split which has no other element and the lowest energy per
    atom; without one the element has the reference energy of the data, on both sides.
    """
    known = data.references.energies if data.references else {}
    result = {
        chemical_symbols[z]: ElementEnergy(energy, energy, "reference energy, not a structure")
        for z, energy in sorted(known.items())
    }
    for symbol, frame in reference_phases(data.frames["train"]).items():
        assert frame.energy is not None
        zero = float(module.reference_energies[frame.numbers[0]])
        result[symbol] = ElementEnergy(
            energy=frame.energy / len(frame),
            predicted=predicted_energy(module, frame) / len(frame) + zero,
            origin=frame.source or frame.key,
        )
    return {symbol: asdict(energy) for symbol, energy in result.items()}


def predicted_energy(module: DistillationModule, frame: Frame) -> float:
    """eV, relative to the reference energies."""
    student = module.student
    edges = neighbors(frame.positions, frame.cell, frame.pbc, student.cutoff, student.max_neighbors)
    structure = Structure.from_vectors(frame.numbers, frame.positions, edges)
    dtype = next(student.parameters()).dtype
    batch = collate([structure], dtype).to(module.device)
    with torch.no_grad():
        return float(student(batch.positions, batch).atomic_energies.sum())

"""What a student predicts for each test structure, collected during the test, so that reports need no data set."""

import csv
import io
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
from ase.symbols import Symbols
from torch import Tensor

from jointkd.evaluation.density import Density, save_densities
from jointkd.evaluation.metrics import force_error
from jointkd.evaluation.parity import Parity
from jointkd.files.atomic import write_whole
from jointkd.files.run_files import PARITY, PARITY_PLOT, TESTED_STRUCTURES
from jointkd.structures.batch import Structure
from jointkd.training.weighted_sum import distributed


class PredictedStructure(NamedTuple):
    """A line of test.csv. Energies are totals."""

    formula: str
    atoms: int
    energy_eV: float  # reference
    predicted_energy_eV: float
    zero_eV: float  # the sum of the reference energies of the atoms, to which the student's energies are relative
    force_mae_meV_per_A: float


class PredictionRecord(lightning.Callback):
    """Collects the energies and force errors of the test structures, and densities of forces and Hessian rows.

    The rows are those that the teacher has labelled (`label.eval_rows`), a sample that is the same for all runs.
    """

    def __init__(self) -> None:
        self.structures: list[PredictedStructure] = []
        self.parity = Parity()

    def on_test_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Structure, *_: Any
    ) -> None:
        """Add a batch. outputs: what `test_step` returned."""
        assert batch.energy is not None
        assert batch.forces is not None
        predicted, energies = as_array(outputs["energies"]), as_array(batch.energy)
        forces, given = as_array(outputs["forces"]), as_array(batch.forces)
        numbers, bounds = as_array(batch.atomic_numbers), batch.ptr.tolist()
        zeros = as_array(pl_module.data_references)[numbers]
        add_finite(self.parity.forces, given, forces)
        if (rows := outputs["hessian_rows"]) is not None and batch.hessian_rows is not None:
            add_finite(self.parity.hessian, as_array(batch.hessian_rows), as_array(rows))
        for index in range(batch.num_structures):
            atoms = slice(bounds[index], bounds[index + 1])
            zero = float(zeros[atoms].sum())
            self.structures.append(
                PredictedStructure(
                    formula=str(Symbols(numbers[atoms]).get_chemical_formula()),
                    atoms=len(numbers[atoms]),
                    energy_eV=float(energies[index]) + zero,
                    predicted_energy_eV=float(predicted[index]) + zero,
                    zero_eV=zero,
                    force_mae_meV_per_A=float(np.abs(force_error(forces[atoms], given[atoms])).mean()),
                )
            )

    def on_test_end(self, *_: Any) -> None:
        """Join the structures of all processes."""
        if distributed():
            parts: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(parts, (self.structures, self.parity))
            self.structures, self.parity = [], Parity()
            for structures, parity in parts:
                self.structures += structures
                self.parity.forces.join(parity.forces)
                self.parity.hessian.join(parity.hessian)

    def write(self, folder: Path) -> None:
        """Write test.csv, a line for each structure, parity.npz, the densities, and test.png, a picture of them."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(PredictedStructure._fields)
        for structure in self.structures:
            table.writerow(f"{value:.12g}" if isinstance(value, float) else value for value in structure)
        write_whole(folder / TESTED_STRUCTURES, text.getvalue().encode())
        rows = {"hessian": self.parity.hessian} if self.parity.hessian.counts.any() else {}
        write_whole(folder / PARITY, save_densities(forces=self.parity.forces, **rows))
        self.parity.energies = self._energies()
        self.parity.save(folder / PARITY_PLOT)

    def _energies(self) -> Density:
        """The density of the energies per atom, relative to the reference energies, of the structures of all ranks."""
        columns = [(each.energy_eV, each.predicted_energy_eV, each.zero_eV, each.atoms) for each in self.structures]
        density, (given, predicted, zeros, atoms) = Density(), np.array(columns).T
        density.add((given - zeros) / atoms, (predicted - zeros) / atoms)
        return density


def add_finite(density: Density, given: np.ndarray, predicted: np.ndarray) -> None:
    """Add the pairs of labels and predictions that are numbers."""
    if (finite := np.isfinite(predicted)).any():
        density.add(given[finite], predicted[finite])


def as_array(values: Tensor) -> np.ndarray:
    """A tensor as an array; numbers with a fraction in double precision."""
    return (values.detach().double() if values.is_floating_point() else values).cpu().numpy()

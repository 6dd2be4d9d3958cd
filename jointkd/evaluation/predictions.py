"""Predictions of a student for any structures, in batches, and which structures it cannot predict."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from jointkd.data.screening import Rejected, find_fault
from jointkd.files.json_objects import split_beside
from jointkd.labels.directions import choose_rows
from jointkd.runtime import device_of
from jointkd.structures.batch import Structure, collate
from jointkd.structures.cells import cell_fault
from jointkd.structures.frame import Frame
from jointkd.structures.neighbors import neighbors
from jointkd.students.base import Student
from jointkd.students.derivatives import predict
from jointkd.students.energy_zero import EnergyZero
from jointkd.students.student_file import load_student, locate_student

BATCH_EDGES = 50_000  # of a batch, to which its memory is proportional; a larger structure is a batch of its own
BATCH_STRUCTURES = 1000
ROW_MEMORY = 2  # by so much at most Hessian rows take more memory than energies and forces
NOT_FINITE = "the student's prediction is not finite"


@dataclass(frozen=True)
class Predicted:
    """A structure and what a student predicts for it, in single precision."""

    frame: Frame
    energy: float  # eV, total, like that of the frame
    energies: np.ndarray  # [N] eV, of the atoms, with their reference energies; they sum to the energy
    forces: np.ndarray  # [N, 3] eV/Å
    stress: np.ndarray | None = None  # [3, 3] eV/Å³, where the frame has one and the student is conservative
    training_distance: float | None = None  # see `TrainingDistance`; None: not asked for
    hessian_rows: np.ndarray | None = None  # [K, N, 3] eV/Å², of the K rows of `choose_rows`; None: not asked for


class Predictor:
    """A student that predicts structures as they are read.

    run: the folder of a finished run, or a student's file; trust: import paths of classes of your own that the file may
    name; rows, seed: of the Hessian rows of each structure, see `choose_rows`.
    Raises DataError for a file that is not a student's.
    """

    def __init__(self, run: str, trust: str | Iterable[str] | None = None, rows: int | str = 0, seed: int = 0) -> None:
        self.rows, self.seed = rows, seed
        module, saved = load_student(Path(run).expanduser(), trust or ())
        self.device = device_of(None)
        self.student = cast(Student, module.to(self.device, torch.float32).eval().requires_grad_(False))
        self.references = saved.reference_energies  # empty in some imported files
        self._zero = EnergyZero(saved.undetermined)
        split = split_beside(locate_student(Path(run).expanduser()))
        self._trained = frozenset(map(str, split.get("train", [])))

    def trained_on(self, frame: Frame) -> bool:
        """Whether a structure is one of the training, as far as the folder of the run says which these are."""
        return bool(self._trained) and frame.key in self._trained

    @property
    def has_zero(self) -> bool:
        """Whether total energies have the zero of the data on which the student was trained."""
        return bool(self.references)

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Predicted | Rejected]:
        """The predictions in the order of the frames; a frame that cannot be predicted is rejected with the reason."""
        waiting: list[tuple[Frame, Structure | str]] = []
        edges, most = 0, BATCH_EDGES // ROW_MEMORY if self.rows else BATCH_EDGES
        for frame in frames:
            entry = self.fault(frame) or self._structure(frame)
            added = entry.edge_index.shape[1] if isinstance(entry, Structure) else 0
            if waiting and (edges + added > most or len(waiting) == BATCH_STRUCTURES):
                yield from self._predict(waiting)
                waiting, edges = [], 0
            waiting.append((frame, entry))
            edges += added
        yield from self._predict(waiting)

    def fault(self, frame: Frame) -> str | None:
        """The reason why a frame cannot be predicted, or its labels cannot be compared with, None if they can."""
        if fault := find_fault(frame, max_force=np.inf):
            return fault
        if unknown := sorted(z for z in set(frame.numbers.tolist()) if not self.knows(z)):
            return f"the student was not trained on {chemical_symbols[unknown[0]]}"
        if frame.charge:
            return "it is charged, and the student takes no charge"
        return cell_fault(frame.positions, frame.cell, frame.pbc, self.student.cutoff)

    def knows(self, element: int) -> bool:
        """Whether the student was trained on an element or, where its file does not say, has weights for it."""
        return element in self.references if self.references else element <= self.student.elements

    def estimates(self, frame: Frame) -> bool:
        """Whether the total energy of the composition was not determined by the structures of the training."""
        return not self._zero.holds_for(frame.numbers)

    def reference_energies(self, numbers: np.ndarray) -> np.ndarray:
        """[N] eV: the reference energy of every atom, to which predictions are relative. numbers: [N]."""
        return np.array([self.references.get(z, 0.0) for z in numbers.tolist()])

    def _structure(self, frame: Frame) -> Structure:
        cutoff, most = self.student.cutoff, self.student.max_neighbors
        edges = neighbors(frame.positions, frame.cell, frame.pbc, cutoff, most)
        structure = Structure.from_vectors(frame.numbers, frame.positions, edges)
        volume = abs(float(np.linalg.det(frame.cell)))
        return replace(structure, inverse_volume=torch.tensor([1 / volume if volume else 0.0], dtype=torch.float64))

    def _predict(self, entries: list[tuple[Frame, Structure | str]]) -> Iterator[Predicted | Rejected]:
        batch = [(frame, entry) for frame, entry in entries if isinstance(entry, Structure)]
        predictions = iter(self._batch(batch) if batch else [])
        for frame, entry in entries:
            if isinstance(entry, str):
                yield Rejected(frame, entry)
                continue
            predicted = next(predictions)
            values = predicted.energies, predicted.forces, predicted.hessian_rows
            finite = all(np.isfinite(each).all() for each in values if each is not None)
            yield predicted if finite else Rejected(frame, NOT_FINITE)

    def _batch(self, entries: list[tuple[Frame, Structure]]) -> Iterator[Predicted]:
        """The predictions for structures that are computed together, in float64."""
        frames = [frame for frame, _ in entries]
        batch = collate([structure for _, structure in entries], torch.float32).to(self.device)
        stress = self.student.conservative and any(frame.stress is not None for frame in frames)
        ids = [choose_rows(frame.key, len(frame), self.rows, self.seed) for frame in frames] if self.rows else []
        prediction = predict(self.student, batch, padded(ids).to(self.device) if ids else None, stress)
        energies, forces, rows, tensors = (
            None if values is None else values.detach().double().cpu().numpy()
            for values in (prediction.atomic_energies, prediction.forces, prediction.hessian_rows, prediction.stress)
        )
        assert energies is not None
        assert forces is not None
        for number, (frame, (first, last)) in enumerate(zip(frames, pairwise(batch.ptr.tolist()), strict=True)):
            total = energies[first:last] + self.reference_energies(frame.numbers)
            yield Predicted(
                frame=frame,
                energy=float(total.sum()),
                energies=total,
                forces=forces[first:last],
                stress=None if tensors is None or frame.stress is None else tensors[number],
                hessian_rows=None if rows is None else rows[first:last, : len(ids[number])].swapaxes(0, 1),
            )


def padded(rows: list[np.ndarray]) -> Tensor:
    """[B, S] the numbers of rows of each structure; those with fewer than the most have others that do not count."""
    most = max(map(len, rows))
    return torch.from_numpy(np.stack([np.resize(each, most) for each in rows]))

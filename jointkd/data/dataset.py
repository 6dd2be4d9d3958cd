"""Frames and labels become structures, and structures become batches in a fixed, resumable order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from jointkd.data.references import Alignment, References
from jointkd.frame import Frame
from jointkd.labels.store import LabelStore
from jointkd.neighbors import neighbors
from jointkd.structure import Structure

Item = tuple[int, int]  # epoch, number of the frame


@dataclass(frozen=True)
class Distillation:
    """The teacher's part of a split: where labels are, how they are aligned, how many rows a structure gets.

    alignment: of the teacher's atomic energies, None where it has none.
    """

    store: LabelStore
    alignment: Alignment | None
    rows: int


class StructureDataset(Dataset[Structure]):
    """One split. Neighbours are found once per structure; Hessian rows are drawn anew in every epoch.

    The draw depends on the seed, the epoch and the structure alone: not on workers, ranks or resumption.
    """

    def __init__(
        self,
        frames: list[Frame],
        cutoff: float,
        references: References,
        teacher: Distillation | None,
        seed: int,
        max_neighbors: int | None = None,
    ) -> None:
        self.frames = frames
        self.cutoff, self.max_neighbors = cutoff, max_neighbors
        self.references = references
        self.teacher = teacher
        self.seed = seed
        self._structures: dict[int, Structure] = {}

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, item: Item) -> Structure:
        epoch, number = item
        if number not in self._structures:
            self._structures[number] = self._structure(self.frames[number])
        structure = self._structures[number].clone()
        if self.teacher is not None and self.teacher.rows:
            key = self.frames[number].key
            stored = self.teacher.store.read(key, rows=False).row_ids
            rng = np.random.default_rng([self.seed, epoch, int(key[:16], 16)])
            wanted = self.teacher.rows
            chosen = rng.choice(len(stored), wanted, replace=wanted > len(stored))
            rows = self.teacher.store.read_rows(key, chosen)
            structure.hessian_rows = torch.from_numpy(np.ascontiguousarray(rows.transpose(1, 0, 2)))
            structure.row_ids = torch.from_numpy(stored[chosen])[None]
        return structure

    def _structure(self, frame: Frame) -> Structure:
        references = self.references.of(frame.numbers)
        structure = Structure(
            atomic_numbers=torch.from_numpy(frame.numbers),
            positions=torch.from_numpy(frame.positions),
            cell=torch.from_numpy(frame.cell)[None],
            pbc=torch.from_numpy(frame.pbc)[None],
            **neighbors(frame.positions, frame.cell, frame.pbc, self.cutoff, self.max_neighbors)._asdict(),
            key=frame.key,
            group=frame.group,
            num_nodes=len(frame),
        )
        if frame.energy is not None:
            structure.energy = torch.tensor([frame.energy - references.sum()], dtype=torch.float64)
        if frame.forces is not None:
            structure.forces = torch.from_numpy(frame.forces)
        if self.teacher is not None and self.teacher.alignment is not None:
            labels = self.teacher.store.read(frame.key, rows=False)
            structure.teacher_atomic_energies = torch.from_numpy(self.teacher.alignment.targets(frame, labels))
            if labels.spread is not None:
                structure.teacher_energy_spread = torch.from_numpy(labels.spread.atomic_energies)
        return structure


class EpochBatches(Sampler[list[Item]]):
    """Batches of (epoch, number), shuffled by seed and epoch; `size` counts over all ranks.

    Each rank takes every `ranks`-th entry of a batch, so what one step sees does not depend on the number of ranks.
    A last batch too small to give every rank an entry is left out of training, where ranks must step together. Without
    shuffling every epoch is the same and nothing is left out: the last ranks may have a batch less.
    """

    def __init__(self, length: int, size: int, seed: int, shuffle: bool, rank: int = 0, ranks: int = 1) -> None:
        self.length, self.size, self.seed, self.shuffle = length, size, seed, shuffle
        self.rank, self.ranks = rank, ranks
        self.epoch = 0
        self.start = 0
        self.sampler = self  # Lightning tells the epoch to the sampler of a batch sampler

    def __len__(self) -> int:
        whole, rest = divmod(self.length, self.size)
        return whole + (rest >= self.ranks if self.shuffle else rest > self.rank)

    def __iter__(self) -> Iterator[list[Item]]:
        order = np.arange(self.length)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        start, self.start = self.start, 0
        for batch in range(start, len(self)):
            numbers = order[batch * self.size : (batch + 1) * self.size][self.rank :: self.ranks]
            yield [(self.epoch, int(number)) for number in numbers]

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch if self.shuffle else 0


class ResumableLoader(DataLoader[Any]):
    """A loader that can be stopped after any batch and go on with the next one."""

    def __init__(self, dataset: StructureDataset, batches: EpochBatches, collate: Callable, workers: int) -> None:
        super().__init__(
            dataset,
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
        self.batches = batches
        self.done = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self.done = self.batches.start
        for batch in super().__iter__():
            self.done += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.batches.epoch, "done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batches.epoch = state["epoch"]
        self.batches.start = self.done = state["done"] % len(self.batches)

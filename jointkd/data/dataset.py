"""Frames and labels become structures, and structures become batches in a fixed, resumable order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from jointkd.data.references import Alignment, References
from jointkd.data.row_sampling import drawn
from jointkd.frame import Frame
from jointkd.labels.store import LabelStore
from jointkd.neighbors import Neighbors
from jointkd.structure import Structure

Item = tuple[int, int]  # epoch, number of the frame


@dataclass(frozen=True)
class Distillation:
    """The teacher's part of a split: where labels are, how they are aligned, how many rows a structure gets.

    alignment: of the teacher's atomic energies, None where it has none; sampling: `fresh` rows in every epoch, each
    once before any twice, or `fixed` ones.
    """

    store: LabelStore
    alignment: Alignment | None
    rows: int
    sampling: str = "fresh"


class StructureDataset(Dataset[Structure]):
    """One split. Structures are made when they are asked for, and Hessian rows drawn: see `row_sampling`.

    The draw depends on the seed, the epoch and the structure alone: not on workers, ranks or resumption.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        neighbors: Callable[[Frame], Neighbors],
        references: References,
        teacher: Distillation | None,
        seed: int,
    ) -> None:
        self.frames = frames
        self.neighbors = neighbors
        self.references = references
        self.teacher = teacher
        self.seed = seed

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, item: Item) -> Structure:
        epoch, number = item
        frame = self.frames[number]
        structure = self._structure(frame)
        if self.teacher is None:
            return structure
        labels = self.teacher.store.read(frame.key, rows=False)
        if self.teacher.alignment is not None:
            structure.teacher_atomic_energies = torch.from_numpy(self.teacher.alignment.targets(frame, labels))
        if wanted := self.teacher.rows:
            stored = labels.row_ids
            deal = epoch if self.teacher.sampling == "fresh" else 0
            chosen = drawn(len(stored), wanted, self.seed, frame.key, deal)
            rows = self.teacher.store.read_rows(frame.key, chosen)
            structure.hessian_rows = torch.from_numpy(np.ascontiguousarray(rows.transpose(1, 0, 2)))
            structure.row_ids = torch.from_numpy(stored[chosen])[None]
        return structure

    def _structure(self, frame: Frame) -> Structure:
        structure = Structure(
            atomic_numbers=torch.from_numpy(frame.numbers),
            positions=torch.from_numpy(frame.positions),
            cell=torch.from_numpy(frame.cell)[None],
            pbc=torch.from_numpy(frame.pbc)[None],
            **self.neighbors(frame)._asdict(),
            key=frame.key,
            group=frame.group,
            num_nodes=len(frame),
        )
        if frame.energy is not None:
            above = frame.energy - self.references.of(frame.numbers).sum()
            structure.energy = torch.tensor([above], dtype=torch.float64)
        if frame.forces is not None:
            structure.forces = torch.from_numpy(frame.forces)
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

"""Frames and labels become structures, and structures become batches in a fixed, resumable order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from jointkd.data.references import Alignment, References
from jointkd.data.row_sampling import drawn
from jointkd.labels.store import LabelStore
from jointkd.structures.batch import MicroBatch, Structure
from jointkd.structures.frame import Frame
from jointkd.structures.neighbors import Neighbors

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
        labels = self._reference(frame)
        if self.teacher is not None:
            labels |= self._teacher(self.teacher, frame, epoch)
        return Structure.from_arrays(frame.numbers, frame.positions, self.neighbors(frame), **labels)

    def _reference(self, frame: Frame) -> dict[str, Tensor]:
        """Energy above the reference energies, and forces, where the frame has them."""
        labels = {}
        if frame.energy is not None:
            above = frame.energy - self.references.of(frame.numbers).sum()
            labels["energy"] = torch.tensor([above], dtype=torch.float64)
        if frame.forces is not None:
            labels["forces"] = torch.from_numpy(frame.forces)
        return labels

    def _teacher(self, teacher: Distillation, frame: Frame, epoch: int) -> dict[str, Tensor]:
        """Aligned atomic energies and sampled Hessian rows."""
        labels = {}
        stored = teacher.store.read(frame.key, rows=False)
        if teacher.alignment is not None:
            labels["teacher_atomic_energies"] = torch.from_numpy(teacher.alignment.targets(frame, stored))
            if stored.spread is not None:
                labels["teacher_energy_spread"] = torch.from_numpy(stored.spread.atomic_energies)
        if teacher.rows:
            deal = epoch if teacher.sampling == "fresh" else 0
            chosen = drawn(len(stored.row_ids), teacher.rows, self.seed, frame.key, deal)
            rows = teacher.store.read_rows(frame.key, chosen)
            labels["hessian_rows"] = torch.from_numpy(np.ascontiguousarray(rows.transpose(1, 0, 2)))
            labels["row_ids"] = torch.from_numpy(stored.row_ids[chosen])[None]
        return labels


class EpochBatches(Sampler[list[Item]]):
    """Batches of (epoch, number), shuffled by seed and epoch; `size` counts over all ranks.

    Each rank takes every `ranks`-th entry of a batch, so what one step sees does not depend on the number of ranks. Its
    entries come in `parts` portions, one after the other (in a last, smaller batch in fewer, if need be). A last batch
    too small to give every rank an entry is left out of training, where ranks must step together. Without shuffling
    every epoch is the same and nothing is left out: the last ranks may have a batch less.
    """

    def __init__(
        self, length: int, size: int, seed: int, shuffle: bool, rank: int = 0, ranks: int = 1, parts: int = 1
    ) -> None:
        self.length, self.size, self.seed, self.shuffle = length, size, seed, shuffle
        self.rank, self.ranks, self.parts = rank, ranks, parts
        self.epoch = 0
        self.start = 0
        self.sampler = self  # Lightning tells the epoch to the sampler of a batch sampler

    def __len__(self) -> int:
        whole, rest = divmod(self.length, self.size)
        return whole * self.parts + (self._portions(whole) if rest else 0)

    def __iter__(self) -> Iterator[list[Item]]:
        order = self._order()
        start, self.start = self.start, 0
        for place in range(start, len(self)):
            batch, part = divmod(place, self.parts)
            own = order[batch * self.size : (batch + 1) * self.size][self.rank :: self.ranks]
            yield [(self.epoch, int(number)) for number in own[part :: self._portions(batch)]]

    def whole(self, place: int) -> list[int]:
        """The numbers of all entries, of every rank, of the batch that portion `place` of this epoch is of."""
        batch = place // self.parts
        return self._order()[batch * self.size : (batch + 1) * self.size].tolist()

    def ends_step(self, place: int) -> bool:
        """Whether portion `place` of an epoch is the last one of its batch."""
        return (place + 1) % self.parts == 0 or place + 1 == len(self)

    def _order(self) -> np.ndarray:
        return shuffled(self.length, self.seed, self.epoch) if self.shuffle else np.arange(self.length)

    def _portions(self, batch: int) -> int:
        """In how many portions each rank takes a batch."""
        entries = min(self.size, self.length - batch * self.size)
        return min(self.parts, entries // self.ranks if self.shuffle else int(entries > self.rank))

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch if self.shuffle else 0


@lru_cache(maxsize=1)  # asked for again by each part of a batch
def shuffled(length: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch."""
    return np.random.default_rng([seed, epoch]).permutation(length)


class ResumableLoader(DataLoader[Structure]):
    """A loader that can be stopped after any batch and go on with the next one."""

    def __init__(
        self,
        dataset: StructureDataset,
        batches: EpochBatches,
        collate: Callable[[list[Structure]], Structure],
        workers: int,
    ) -> None:
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

    def __iter__(self) -> Iterator[Structure]:  # type: ignore[override]
        self.done = self.batches.start
        for batch in super().__iter__():
            if self.batches.parts > 1:
                batch = replace(batch, whole=self._whole(self.done))
            self.done += 1
            yield batch

    def _whole(self, place: int) -> MicroBatch:
        """What portion `place` of this epoch must know of its whole batch."""
        frames: Sequence[Frame] = self.dataset.frames  # type: ignore[attr-defined]
        numbers = self.batches.whole(place)
        atoms = sum(len(frames[number]) for number in numbers)
        return MicroBatch(len(numbers), atoms, self.batches.parts, self.batches.ends_step(place))

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.batches.epoch, "done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batches.epoch = state["epoch"]
        self.batches.start = self.done = state["done"] % len(self.batches)

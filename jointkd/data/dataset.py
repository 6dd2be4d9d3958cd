"""The data set that makes structures of frames and labels, and the loader that batches them in a resumable order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from jointkd.data.alignment import Alignment
from jointkd.data.references import References
from jointkd.data.row_sampling import mixtures, sample_rows
from jointkd.labels.directions import vectors
from jointkd.labels.records import TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.structures.batch import MicroBatch, Structure
from jointkd.structures.frame import Frame
from jointkd.structures.neighbors import Neighbors

Item = tuple[int, int]  # epoch, index of the frame


@dataclass(frozen=True)
class Distillation:
    """The teacher's labels of a split, and how training uses them.

    alignment: shifts the teacher's atomic energies to the zero of the reference data; None for a teacher without atomic
    energies. rows: Hessian rows per structure and step. sampling: `fresh` rows in every epoch, each used once before
    any is used twice, `fixed` ones, or `mixed`, random combinations of all. probes: whether structures may have probes
    in place of rows, so that all are given as vectors. completion: shifts the teacher's energies, which with its forces
    are the targets of structures without reference labels; None: they have none.
    """

    store: LabelStore
    alignment: Alignment | None
    rows: int
    sampling: str = "fresh"
    probes: bool = False
    completion: Alignment | None = None


class StructureDataset(Dataset[Structure]):
    """The structures of one split, made on access from frames, neighbours, references and labels.

    The Hessian rows of a structure depend on the seed, the epoch and the structure alone (see `row_sampling`), not on
    workers, ranks or resumption. references: None for structures without reference labels; teacher: None for structures
    without a teacher's.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        neighbors: Callable[[Frame], Neighbors],
        references: References | None,
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
        epoch, index = item
        frame = self.frames[index]
        labels = {} if self.teacher is None else self._teacher(self.teacher, frame, epoch)
        if self.references is not None:
            labels |= self._reference(self.references, frame)
        return Structure.from_arrays(frame.numbers, frame.positions, self.neighbors(frame), **labels)

    @staticmethod
    def _reference(references: References, frame: Frame) -> dict[str, Tensor]:
        """The energy relative to the reference energies, the forces and the stress, where the frame has them."""
        labels = {}
        if frame.energy is not None:
            relative = frame.energy - references.of(frame.numbers).sum()
            labels["energy"] = torch.tensor([relative], dtype=torch.float64)
        if frame.forces is not None:
            labels["forces"] = torch.from_numpy(frame.forces)
        if frame.stress is not None:
            labels["stress"] = torch.from_numpy(frame.stress)[None]
            labels["inverse_volume"] = torch.tensor([1 / abs(np.linalg.det(frame.cell))], dtype=torch.float64)
        return labels

    def _teacher(self, teacher: Distillation, frame: Frame, epoch: int) -> dict[str, Tensor]:
        """Aligned atomic energies and sampled Hessian rows, and energy and forces for a frame that may lack them."""
        labels = {}
        mixed = teacher.rows > 0 and teacher.sampling == "mixed"
        stored = teacher.store.read(frame.key, rows=mixed)
        if teacher.completion is not None:
            labels["energy"] = torch.tensor([teacher.completion.total(frame, stored)], dtype=torch.float64)
            labels["forces"] = torch.from_numpy(stored.forces)
            labels["from_teacher"] = torch.tensor([[frame.energy is None, frame.forces is None]])
        if teacher.alignment is not None:
            labels["teacher_atomic_energies"] = torch.from_numpy(teacher.alignment.targets(frame, stored))
            if stored.spread is not None:
                labels["teacher_energy_spread"] = torch.from_numpy(stored.spread.atomic_energies)
        if teacher.rows:
            labels |= (self._mixed if mixed else self._sampled)(teacher, frame, stored, epoch)
        return labels

    def _mixed(self, teacher: Distillation, frame: Frame, stored: TeacherLabels, epoch: int) -> dict[str, Tensor]:
        """The Hessian along mixtures of all stored directions."""
        mix = mixtures(len(stored.directions), teacher.rows, self.seed, frame.key, epoch)
        probes = np.tensordot(mix, vectors(stored.directions, len(frame)), 1)
        length = np.linalg.norm(probes, axis=(1, 2), keepdims=True)
        products = np.tensordot(mix, stored.hessian_rows, 1)
        return {"hessian_rows": by_atom(products / length), "probes": by_atom(probes / length)}

    def _sampled(self, teacher: Distillation, frame: Frame, stored: TeacherLabels, epoch: int) -> dict[str, Tensor]:
        """The Hessian along some of the stored directions, of which no others are read."""
        sampled_epoch = epoch if teacher.sampling == "fresh" else 0
        indices = sample_rows(len(stored.directions), teacher.rows, self.seed, frame.key, sampled_epoch)
        rows, directions = by_atom(teacher.store.read_rows(frame.key, indices)), stored.directions[indices]
        if teacher.probes:
            return {"hessian_rows": rows, "probes": by_atom(vectors(directions, len(frame)))}
        return {"hessian_rows": rows, "row_ids": torch.from_numpy(directions)[None]}


def by_atom(values: np.ndarray) -> Tensor:
    """[K, N, 3] → [N, K, 3]."""
    return torch.from_numpy(np.ascontiguousarray(values.transpose(1, 0, 2)))


class EpochBatches(Sampler[list[Item]]):
    """Batches of (epoch, index), shuffled by seed and epoch; `size` counts the structures of a batch over all ranks.

    Each rank takes every `ranks`-th structure of a batch, so the batches do not depend on the number of ranks. For
    gradient accumulation a rank divides its share of a batch into `parts` micro-batches, and yields one after the other
    (fewer for a last batch that has too few structures). In training, where ranks must step together, a last batch with
    fewer structures than ranks is left out. Without shuffling, every epoch has the same order and all structures, and
    some ranks may have one batch less.

    referenced: the indices of those with a reference label; from the epoch `only_referenced_from` on the others are
    left out, and an epoch, which keeps its length, takes the referenced ones several times. None: all.
    """

    def __init__(
        self,
        length: int,
        size: int,
        seed: int,
        shuffle: bool,
        rank: int = 0,
        ranks: int = 1,
        parts: int = 1,
        referenced: np.ndarray | None = None,
    ) -> None:
        self.length, self.size, self.seed, self.shuffle = length, size, seed, shuffle
        self.rank, self.ranks, self.parts = rank, ranks, parts
        self.referenced = np.arange(length) if referenced is None else referenced
        self.only_referenced_from: int | None = None
        self.epoch = 0
        self.start = 0
        self.sampler = self  # Lightning calls `set_epoch` of the sampler of a batch sampler

    def __len__(self) -> int:
        full_batches, rest = divmod(self.length, self.size)
        return full_batches * self.parts + (self._micro_batches(full_batches) if rest else 0)

    def __iter__(self) -> Iterator[list[Item]]:
        order = self._order()
        start, self.start = self.start, 0
        for index in range(start, len(self)):
            batch, part = divmod(index, self.parts)
            share = order[batch * self.size : (batch + 1) * self.size][self.rank :: self.ranks]
            yield [(self.epoch, int(frame)) for frame in share[part :: self._micro_batches(batch)]]

    def whole(self, index: int) -> list[int]:
        """The frames of the whole batch, over all ranks, that micro-batch `index` of this epoch belongs to."""
        batch = index // self.parts
        return self._order()[batch * self.size : (batch + 1) * self.size].tolist()

    def ends_step(self, index: int) -> bool:
        """Whether micro-batch `index` of an epoch is the last one of its batch."""
        return (index + 1) % self.parts == 0 or index + 1 == len(self)

    def _order(self) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.length)
        if self.only_referenced_from is None or self.epoch < self.only_referenced_from:
            return shuffled(self.length, self.length, self.seed, self.epoch)
        return self.referenced[shuffled(len(self.referenced), self.length, self.seed, self.epoch)]

    def _micro_batches(self, batch: int) -> int:
        """The number of micro-batches into which each rank divides its share of a batch."""
        structures = min(self.size, self.length - batch * self.size)
        return min(self.parts, structures // self.ranks if self.shuffle else int(structures > self.rank))

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch if self.shuffle else 0


@lru_cache(maxsize=1)  # every micro-batch needs it
def shuffled(count: int, length: int, seed: int, epoch: int) -> np.ndarray:
    """[length] the order of so many frames in an epoch, in which each occurs about as often as any other."""
    generator = np.random.default_rng([seed, epoch])
    return np.concatenate([generator.permutation(count) for _ in range(-(-length // count))])[:length]


class ResumableLoader(DataLoader[Structure]):
    """A loader whose state, saved after any batch, lets another loader continue with the next batch."""

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

    def _whole(self, index: int) -> MicroBatch:
        """The sizes of the whole batch that micro-batch `index` of this epoch belongs to."""
        frames: Sequence[Frame] = self.dataset.frames  # type: ignore[attr-defined]
        batch = self.batches.whole(index)
        atoms = sum(len(frames[frame]) for frame in batch)
        return MicroBatch(len(batch), atoms, self.batches.parts, self.batches.ends_step(index))

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.batches.epoch, "done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batches.epoch = state["epoch"]
        self.batches.start = self.done = state["done"] % len(self.batches)

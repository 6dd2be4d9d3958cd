"""The LightningDataModule: reads, screens and splits once; joins labels; serves batches."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from ase.data import atomic_numbers, chemical_symbols

from jointkd.data import extxyz
from jointkd.data.checks import quarantine, screen
from jointkd.data.dataset import Distillation, EpochBatches, ResumableLoader, StructureDataset
from jointkd.data.references import References, align, least_squares
from jointkd.data.splits import SPLITS, Split
from jointkd.errors import ConfigError, DataError, LabelMismatch
from jointkd.frame import Frame
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.structure import collate

log = logging.getLogger(__name__)

Reader = Callable[[], tuple[list[Frame], dict[int, float]]]


class DistillationData(lightning.LightningDataModule):
    """Structures with reference labels and, once `join` was called, with a teacher's.

    read: gives frames and free-atom energies; reference: `data` (labels of the file) or `teacher`;
    reference_energies: eV by chemical symbol, or None to take those of the file, else a least-squares fit;
    batch_size: structures per step over all ranks; workers: processes that load.
    """

    def __init__(
        self,
        name: str,
        read: Reader,
        split: Split,
        reference: str = "data",
        reference_energies: dict[str, float] | None = None,
        max_force: float = 50.0,
        batch_size: int = 4,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if reference not in ("data", "teacher"):
            raise ConfigError(f"data.reference={reference!r} is not known", "choose data or teacher")
        self.name = name
        self.reference = reference
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.dtype = torch.float32
        frames, self._isolated = read()
        self._chosen = reference_energies
        sound, self.rejected = screen(frames, max_force)
        self.frames = split(sound)
        self.references: References | None = None
        self.teacher: dict[str, Distillation | None] = dict.fromkeys(SPLITS)
        self.cutoff = 0.0

    def prepare_run(self, directory: Path, cutoff: float, dtype: torch.dtype) -> None:
        """Set aside what is not usable, say what there is, and fix what the student needs to know."""
        quarantine(self.rejected, directory)
        self.cutoff, self.dtype = cutoff, dtype
        counts = ", ".join(f"{len(frames)} {split}" for split, frames in self.frames.items())
        log.info("data %s: %s", self.name, counts)
        if self.reference == "data":
            self.references = self._find_references()
            energies = ", ".join(f"{chemical_symbols[z]} {e:.3f}" for z, e in self.references.energies.items())
            log.info("reference energies in eV (%s): %s", self.references.origin, energies)

    def _find_references(self) -> References:
        if self._chosen is not None:
            unknown = [symbol for symbol in self._chosen if symbol not in atomic_numbers]
            if unknown:
                raise ConfigError(f"data.reference_energies has {unknown[0]!r}", "name elements as H, C, Si, …")
            energies = {atomic_numbers[symbol]: float(energy) for symbol, energy in self._chosen.items()}
            return References(energies, "data.reference_energies")
        present = {int(z) for frames in self.frames.values() for frame in frames for z in frame.numbers}
        if present <= self._isolated.keys():
            return References({z: self._isolated[z] for z in sorted(present)}, "isolated atoms of the data")
        return least_squares(self.frames["train"])

    def join(self, store: LabelStore, train_rows: int, eval_rows: int) -> None:
        """Take a teacher's labels: for each training step `train_rows` Hessian rows, `eval_rows` for the test.

        Raises LabelMismatch where the store lacks structures of this data set, and CorruptShard.
        """
        store.verify()
        if self.reference == "teacher":
            self._adopt(store)
        train, test = self._labelled("train", store), self._labelled("test", store)
        assert self.references is not None
        labels: dict[str, TeacherLabels] = {frame.key: store.read(frame.key, rows=False) for frame in train}
        alignment = align(train, labels, store.teacher, self.references)
        if train_rows:
            stored = min(len(labels[frame.key].row_ids) / min(train_rows, 3 * len(frame)) for frame in train)
            if stored < 1:
                raise LabelMismatch(
                    f"training asks for {train_rows} Hessian rows per structure and {store.path} has fewer",
                    "set label.rows to at least the rows of the method",
                )
        log.info("%s", alignment)
        self.frames = {**self.frames, "train": train, "test": test}
        self.teacher = {
            "train": Distillation(store, alignment, train_rows),
            "val": None,
            "test": Distillation(store, alignment, eval_rows),
        }

    def _labelled(self, split: str, store: LabelStore) -> list[Frame]:
        frames = [frame for frame in self.frames[split] if frame.key not in store.failed]
        if len(frames) < len(self.frames[split]):
            log.warning("%d structures of %s have no usable labels", len(self.frames[split]) - len(frames), split)
        missing = sum(frame.key not in store for frame in frames)
        if missing:
            raise LabelMismatch(
                f"{missing} of {len(frames)} structures of the {split} split of data={self.name} have no labels from "
                f"{store.teacher.name} in {store.path}",
                "make them with python -m jointkd.label and the same options",
            )
        return frames

    def _adopt(self, store: LabelStore) -> None:
        """Take energies, forces and free atoms from the teacher: there is no reference calculation."""
        identity: TeacherIdentity = store.teacher
        self.references = References(identity.free_atom_energies, f"free atoms of {identity.name}")
        for split in SPLITS:
            adopted = []
            for frame in self._labelled(split, store):
                labels = store.read(frame.key, rows=False)
                adopted.append(replace(frame, energy=labels.energy, forces=labels.forces.astype(float)))
            self.frames[split] = adopted

    def check_references(self) -> None:
        """Raises DataError where there is nothing to learn from."""
        if self.references is None or any(frame.energy is None for frame in self.frames["train"]):
            raise DataError("the structures have no reference labels", "give them, or set data.reference=teacher")

    def hashes(self) -> dict[str, str]:
        """One hash per split of the content keys in it."""
        return {
            split: hashlib.sha256("".join(sorted(frame.key for frame in frames)).encode()).hexdigest()
            for split, frames in self.frames.items()
        }

    def train_dataloader(self) -> ResumableLoader:
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> ResumableLoader:
        return self._loader("val", shuffle=False)

    def test_dataloader(self) -> ResumableLoader:
        return self._loader("test", shuffle=False)

    def _loader(self, split: str, shuffle: bool) -> ResumableLoader:
        assert self.references is not None
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        if self.batch_size < ranks:
            raise ConfigError(
                f"data.batch_size={self.batch_size} is smaller than the {ranks} processes that share it",
                "raise data.batch_size",
            )
        frames = self.frames[split]
        dataset = StructureDataset(frames, self.cutoff, self.references, self.teacher[split], self.seed)
        size = self.batch_size if shuffle else max(self.batch_size, 8)
        batches = EpochBatches(len(frames), size, self.seed, shuffle, rank, ranks)
        return ResumableLoader(dataset, batches, partial(collate, dtype=self.dtype), self.workers if shuffle else 0)


def from_file(
    path: str | None,
    energy_key: str | None,
    forces_key: str | None,
    units: dict[str, str],
    group_key: str | None,
    split_key: str | None,
    format: str | None,
    **options: Any,
) -> DistillationData:
    """The data module of one file that ASE reads; see `extxyz.read` and `DistillationData`."""
    source = partial(extxyz.read, path, energy_key, forces_key, units, group_key, split_key, format)
    return DistillationData(read=source, **options)

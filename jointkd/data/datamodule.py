"""The LightningDataModule: reads, screens and splits once; joins labels; serves batches."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import lightning
import torch
from ase.data import atomic_numbers, chemical_symbols

from jointkd.data import extxyz
from jointkd.data.checks import quarantine, screen
from jointkd.data.dataset import Distillation, EpochBatches, ResumableLoader, StructureDataset
from jointkd.data.references import References, align, least_squares
from jointkd.data.splits import SPLITS, Split
from jointkd.errors import ConfigError, DataError, LabelMismatch
from jointkd.frame import Frame, elements_of
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.structure import collate

log = logging.getLogger(__name__)

Reader = Callable[[], tuple[list[Frame], dict[int, float]]]


class DistillationData(lightning.LightningDataModule):
    """Structures with reference labels and, once `join` was called, with a teacher's.

    read: gives frames and free-atom energies; reference: `data` (labels of the file) or `teacher`;
    reference_energies: eV by chemical symbol; `fit` for a least-squares fit to the training split; None to take the
    isolated atoms of the file, else the fit;
    batch_size: structures per step over all ranks; workers: processes that load.
    """

    def __init__(
        self,
        name: str,
        read: Reader,
        split: Split,
        reference: str = "data",
        reference_energies: dict[str, float] | str | None = None,
        max_force: float = 50.0,
        batch_size: int = 4,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if reference not in ("data", "teacher"):
            raise ConfigError(f"data.reference={reference!r} is not known", "choose data or teacher")
        if batch_size < 1:
            raise ConfigError(f"data.batch_size={batch_size} is no number of structures", "give at least 1")
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
        self.max_neighbors: int | None = None

    def prepare_run(self, directory: Path, cutoff: float, dtype: torch.dtype, max_neighbors: int | None = None) -> None:
        """Set aside what is not usable, say what there is, and fix what the student needs to know."""
        quarantine(self.rejected, directory)
        self.cutoff, self.max_neighbors, self.dtype = cutoff, max_neighbors, dtype
        if max_neighbors is not None:
            log.warning(
                "student.max_neighbors=%d: energies will jump where neighbours change rank, and depend on the order of "
                "atoms; leave it null except to repeat the prior art",
                max_neighbors,
            )
        counts = ", ".join(f"{len(frames)} {split}" for split, frames in self.frames.items())
        log.info("data %s: %s", self.name, counts)
        if self.reference == "data":
            self.references = self._find_references()
            for frame in self._everything():
                self.references.of(frame.numbers)
            energies = ", ".join(f"{chemical_symbols[z]} {e:.3f}" for z, e in self.references.energies.items())
            log.info("reference energies in eV (%s): %s", self.references.origin, energies)

    def _find_references(self) -> References:
        if any(frame.energy is None or frame.forces is None for frame in self._everything()):
            raise DataError(
                f"the structures of data={self.name} have no reference energies and forces",
                "give data.energy_key and data.forces_key, or set data.reference=teacher",
            )
        present = elements_of(self._everything())
        if self._chosen is None and self._isolated.keys() >= set(present):
            return References({z: self._isolated[z] for z in present}, "isolated atoms of the data")
        if self._chosen is None or self._chosen == "fit":
            return least_squares(self.frames["train"])
        if isinstance(self._chosen, str):
            raise ConfigError(f"data.reference_energies={self._chosen}", "give fit, or energies in eV as {H: -13.6, …}")
        for symbol, energy in self._chosen.items():
            if symbol not in atomic_numbers or not isinstance(energy, int | float):
                raise ConfigError(f"data.reference_energies has {symbol}: {energy}", "give eV by H, C, Si, …")
        return References({atomic_numbers[symbol]: e for symbol, e in self._chosen.items()}, "data.reference_energies")

    def _everything(self) -> list[Frame]:
        return [frame for frames in self.frames.values() for frame in frames]

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
        alignment = align(train, labels, self.references) if store.teacher.atomic_energies else None
        if train_rows:
            stored = min(len(labels[frame.key].row_ids) / min(train_rows, 3 * len(frame)) for frame in train)
            if stored < 1:
                raise LabelMismatch(
                    f"training asks for {train_rows} Hessian rows per structure and {store.path} has fewer",
                    "set label.rows to at least the rows of the method",
                )
        log.info("%s", alignment or f"{store.teacher.name} gives no atomic energies: there is nothing to align")
        if alignment and (absent := alignment.without(test)):
            log.warning(
                "%s: only the test split has it, so atomic energies of it are tested on the teacher's own zero",
                ", ".join(chemical_symbols[z] for z in absent),
            )
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
        if not frames:
            raise LabelMismatch(
                f"{store.teacher.name} could label no structure of the {split} split of data={self.name} "
                f"({next(iter(store.failed.values()))})",
                "look at the structures, or take another teacher",
            )
        missing = sum(frame.key not in store for frame in frames)
        if missing:
            raise LabelMismatch(
                f"{missing} of {len(frames)} structures of the {split} split of data={self.name} have no labels from "
                f"{store.teacher.name} in {store.path}",
                "make them with python -m jointkd.label and the same options",
            )
        return frames

    def _adopt(self, store: LabelStore) -> None:
        """Take energies, forces and free atoms from the teacher: there is no reference calculation.

        Where its free atoms are not known, references are fitted to its energies.
        """
        identity: TeacherIdentity = store.teacher
        for split in SPLITS:
            adopted = []
            for frame in self._labelled(split, store):
                labels = store.read(frame.key, rows=False)
                adopted.append(replace(frame, energy=labels.energy, forces=labels.forces.astype(float)))
            self.frames[split] = adopted
        self.references = (
            References(identity.free_atom_energies, f"free atoms of {identity.name}")
            if identity.free_atom_energies
            else least_squares(self.frames["train"])
        )

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
        frames = self.frames[split]
        if min(self.batch_size, len(frames)) < ranks:
            raise ConfigError(
                f"{ranks} processes cannot share the {len(frames)} structures of the {split} split in batches of "
                f"data.batch_size={self.batch_size}",
                "raise data.batch_size, give more structures, or lower trainer.devices",
            )
        dataset = StructureDataset(
            frames, self.cutoff, self.references, self.teacher[split], self.seed, self.max_neighbors
        )
        size = self.batch_size if shuffle else max(self.batch_size, 8)
        batches = EpochBatches(len(frames), size, self.seed, shuffle, rank, ranks)
        return ResumableLoader(dataset, batches, partial(collate, dtype=self.dtype), self.workers if shuffle else 0)


def from_file(
    name: str,
    path: str | None,
    energy_key: str | None,
    forces_key: str | None,
    units: dict[str, str],
    group_key: str | None,
    split_key: str | None,
    format: str | None,
    split: Split,
    reference: str,
    reference_energies: dict[str, float] | str | None,
    max_force: float,
    batch_size: int,
    workers: int,
    seed: int,
) -> DistillationData:
    """The data module of one file that ASE reads; see `extxyz.read` and `DistillationData`.

    Every option is named here, with its type, because options are checked against it.
    """
    source = partial(extxyz.read, path, energy_key, forces_key, units, group_key, split_key, format)
    return DistillationData(name, source, split, reference, reference_energies, max_force, batch_size, workers, seed)

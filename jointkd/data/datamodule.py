"""The LightningDataModule: takes a prepared set, splits it, joins labels, serves batches."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import lightning
import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols

from jointkd.data.dataset import Distillation, EpochBatches, ResumableLoader, StructureDataset
from jointkd.data.options import DataOptions
from jointkd.data.prepared import QUARANTINE, PreparedSet, prepare
from jointkd.data.provenance import origin_of
from jointkd.data.references import References, align, least_squares
from jointkd.data.row_sampling import check_sampling
from jointkd.data.splits import FILE, SPLITS, save, shared_groups
from jointkd.data.stored_neighbors import NeighborsOf, neighbors_of
from jointkd.data.subsets import compare_size
from jointkd.errors import ConfigError, DataError, LabelMismatch
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.structures.batch import collate
from jointkd.structures.frame import Frame, elements_of

log = logging.getLogger(__name__)


class DistillationData(lightning.LightningDataModule):
    """Structures with reference labels and, once `join` was called, with a teacher's.

    Before it serves batches it must know the student's neighbours (`prepare_neighbors`) and, where the reference is not
    the teacher, the zero of energy (`fit_references`).
    """

    def __init__(self, options: DataOptions) -> None:
        super().__init__()
        self.options = options
        self.name: str = options.name
        self.reference = options.reference
        self.batch_size, self.workers, self.seed = options.batch_size, options.workers, options.seed
        self.dtype = torch.float32
        self.source = self._prepared_set()
        self.split = options.division
        everything, numbers = self.source.frames, self.split.numbers(self.source.frames)
        self.frames: dict[str, Sequence[Frame]] = {part: everything.at(chosen) for part, chosen in numbers.items()}
        self.division = {part: [self.source.keys[number] for number in chosen] for part, chosen in numbers.items()}
        self.references: References | None = None
        self.teacher: dict[str, Distillation | None] = dict.fromkeys(SPLITS)
        self.cutoff = 0.0
        self.max_neighbors: int | None = None

    def _prepared_set(self) -> PreparedSet:
        options, reader = self.options, self.options.reader()
        folder, origin = options.prepared, {}
        if folder is None:
            self._folder = TemporaryDirectory(prefix="jointkd-")
            folder = self._folder.name
        else:
            origin = origin_of(reader, options.rules, options.max_force)
        return prepare(Path(folder).expanduser(), options.name, reader, options.rules, options.max_force, origin)

    def prepare_neighbors(self, cutoff: float, dtype: torch.dtype, max_neighbors: int | None = None) -> None:
        """Fix the student's cutoff (Å), precision and cap on neighbours, and log what the data are."""
        self.cutoff, self.max_neighbors, self.dtype = cutoff, max_neighbors, dtype
        if max_neighbors is not None:
            log.warning(
                "student.max_neighbors=%d: energies will jump where neighbours change rank, and depend on the order of "
                "atoms; leave it null except to repeat the prior art",
                max_neighbors,
            )
        self._log_contents()

    def fit_references(self) -> None:
        """Find the per-element energies that training is relative to, unless they will be the teacher's."""
        if self.reference == "data":
            self.references = self._find_references()
            self.references.of(np.array(self.elements))
            energies = ", ".join(f"{chemical_symbols[z]} {e:.3f}" for z, e in self.references.energies.items())
            log.info("reference energies in eV (%s): %s", self.references.origin, energies)

    def _log_contents(self) -> None:
        compare_size(self.name, len(self.source), self.options.expected_size)
        for reason, count in self.source.manifest["set_aside"].items():
            log.warning("set aside %d structures: %s (%s)", count, reason, self.source.path / QUARANTINE)
        counts = ", ".join(f"{len(frames)} {split}" for split, frames in self.frames.items())
        log.info("split by %s: %s", self.split.path or self.split.by, counts)
        for split, share in shared_groups(self.frames).items():
            if share:
                log.warning(
                    "data.split.by=%s: %.0f %% of the groups (molecules, materials) of %s also occur in train",
                    self.split.by,
                    100 * share,
                    split,
                )

    def save_split(self, directory: Path) -> None:
        """Write the split as it was made, before labels are joined: a file that `data.split.path` takes."""
        save(self.split, self.division, directory / FILE)

    def _find_references(self) -> References:
        if any(frame.energy is None or frame.forces is None for part in self.frames.values() for frame in part):
            raise DataError(
                f"the structures of data={self.name} have no reference energies and forces",
                "give data.energy_key and data.forces_key, or set data.reference=teacher",
            )
        isolated, chosen = self.source.free_atom_energies, self.options.reference_energies
        if chosen is None and isolated.keys() >= set(self.elements):
            return References({z: isolated[z] for z in self.elements}, "isolated atoms of the data")
        if chosen is None or chosen == "fit":
            return least_squares(self.frames["train"])
        if isinstance(chosen, str):
            raise ConfigError(f"data.reference_energies={chosen}", "give fit, or energies in eV as {H: -13.6, …}")
        for symbol, energy in chosen.items():
            if symbol not in atomic_numbers or not isinstance(energy, int | float):
                raise ConfigError(f"data.reference_energies has {symbol}: {energy}", "give eV by H, C, Si, …")
        return References({atomic_numbers[symbol]: e for symbol, e in chosen.items()}, "data.reference_energies")

    @cached_property
    def elements(self) -> list[int]:
        """The atomic numbers that occur in any split, ascending."""
        return elements_of(frame for part in self.frames.values() for frame in part)

    def join(self, store: LabelStore, train_rows: int, eval_rows: int, sampling: str = "fresh") -> None:
        """Take a teacher's labels: for each training step `train_rows` Hessian rows, `eval_rows` for the test.

        sampling: of the rows, see `row_sampling`. Raises LabelMismatch where the store lacks structures of this data
        set, CorruptShard, and ConfigError.
        """
        check_sampling(sampling)
        store.verify()
        if self.reference == "teacher":
            self._adopt(store)
        train, test = self.labelled("train", store), self.labelled("test", store)
        assert self.references is not None
        labels: dict[str, TeacherLabels] = {frame.key: store.read(frame.key, rows=False) for frame in train}
        alignment = align(list(train), labels, self.references) if store.teacher.atomic_energies else None
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
            "train": Distillation(store, alignment, train_rows, sampling),
            "val": None,
            "test": Distillation(store, alignment, eval_rows),
        }

    def labelled(self, split: str, store: LabelStore) -> Sequence[Frame]:
        """The frames of a split that a teacher could label. Raises LabelMismatch for those that it was not given."""
        frames = self.frames[split]
        if store.failed:
            frames = [frame for frame in frames if frame.key not in store.failed]
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
                "make them with python -m jointkd.label and the same options"
                + (" and label.validation=true" if split == "val" else ""),
            )
        return frames

    def _adopt(self, store: LabelStore) -> None:
        """Take energies, forces and free atoms from the teacher: there is no reference calculation.

        Where its free atoms are not known, references are fitted to its energies.
        """
        identity: TeacherIdentity = store.teacher
        for split in SPLITS:
            adopted = []
            for frame in self.labelled(split, store):
                labels = store.read(frame.key, rows=False)
                own = replace(frame, energy=labels.energy, forces=labels.forces.astype(float))
                adopted.append(own.with_key(frame.key))
            self.frames[split] = adopted
        self.references = (
            References(identity.free_atom_energies, f"free atoms of {identity.name}")
            if identity.free_atom_energies
            else least_squares(self.frames["train"])
        )

    def find_neighbors(self) -> NeighborsOf:
        """The neighbours within the student's cutoff, of all structures: found once, and kept with the set."""
        return neighbors_of(self.source, self.cutoff, self.max_neighbors)

    def train_dataloader(self) -> ResumableLoader:
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> ResumableLoader:
        return self._loader("val", shuffle=False)

    def test_dataloader(self) -> ResumableLoader:
        return self._loader("test", shuffle=False)

    def _loader(self, split: str, shuffle: bool) -> ResumableLoader:
        assert self.references is not None
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        parts = self.trainer.accumulate_grad_batches if self.trainer and shuffle else 1
        frames = self.frames[split]
        if parts < 1:
            raise ConfigError(f"trainer.accumulate_grad_batches={parts} is no number of parts", "give at least 1")
        if min(self.batch_size, len(frames)) < ranks * parts:
            shares = f"{ranks} processes" + (f", each in {parts} parts," if parts > 1 else "")
            raise ConfigError(
                f"{shares} cannot share the {len(frames)} structures of the {split} split in batches of "
                f"data.batch_size={self.batch_size}",
                "raise data.batch_size, give more structures, or lower trainer.devices"
                + (" or trainer.accumulate_grad_batches" if parts > 1 else ""),
            )
        dataset = StructureDataset(frames, self.find_neighbors(), self.references, self.teacher[split], self.seed)
        size = self.batch_size if shuffle else max(self.batch_size, 8)
        batches = EpochBatches(len(frames), size, self.seed, shuffle, rank, ranks, parts)
        return ResumableLoader(dataset, batches, partial(collate, dtype=self.dtype), self.workers if shuffle else 0)

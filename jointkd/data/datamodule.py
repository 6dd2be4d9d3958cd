"""The LightningDataModule: takes a prepared set, splits it, joins labels, serves batches."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from inspect import Parameter, Signature, signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning
import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from lightning.pytorch.utilities import rank_zero_only

from jointkd.data.dataset import Distillation, EpochBatches, ResumableLoader, StructureDataset
from jointkd.data.prepared import QUARANTINE, prepare
from jointkd.data.provenance import Reader, Subset, origin_of
from jointkd.data.readers import extxyz
from jointkd.data.references import References, align, least_squares
from jointkd.data.row_sampling import check_sampling
from jointkd.data.splits import FILE, SPLITS, Split, save, shared_groups
from jointkd.data.stored_neighbors import NeighborsOf, neighbors_of
from jointkd.data.subsets import compare_size
from jointkd.errors import ConfigError, DataError, LabelMismatch
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.reports.dataset import report as write_report
from jointkd.structures.batch import collate
from jointkd.structures.frame import Frame, elements_of

log = logging.getLogger(__name__)


class DistillationData(lightning.LightningDataModule):
    """Structures with reference labels and, once `join` was called, with a teacher's.

    read: gives frames and free-atom energies; subset: leaves some of the frames out; expected_size: how many
    structures there should then be, where a paper says it; reference: `data` (labels of the file) or `teacher`;
    reference_energies: eV by chemical symbol; `fit` for a least-squares fit to the training split; None to take the
    isolated atoms of the file, else the fit;
    batch_size: structures per step over all ranks; workers: processes that load;
    prepared: where prepared sets are kept, or one of them, None to keep nothing; report: write one beside the run.
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
        subset: Subset | None = None,
        expected_size: int | None = None,
        prepared: str | None = None,
        report: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(split, Split):
            raise ConfigError(f"data.split={split} is not known", "give data.split.by=…, or data.split.path=FILE")
        if not (subset is None or callable(subset)):
            raise ConfigError(f"data.subset={subset} is no rule", "give data.subset.contains_element=… or another rule")
        if reference not in ("data", "teacher"):
            raise ConfigError(f"data.reference={reference!r} is not known", "choose data or teacher")
        if batch_size < 1:
            raise ConfigError(f"data.batch_size={batch_size} is no number of structures", "give at least 1")
        if workers < 0:
            raise ConfigError(f"data.workers={workers} is no number of processes", "give 0 or more")
        self.name: str = name
        self.reference = reference
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.dtype = torch.float32
        self._chosen = reference_energies
        self.expected_size, self.report = expected_size, report
        if prepared is None:
            self._folder = TemporaryDirectory(prefix="jointkd-")
            prepared, origin = self._folder.name, {}
        else:
            origin = origin_of(read, subset, max_force)
        self.source = prepare(Path(prepared).expanduser(), name, read, subset, max_force, origin)
        self.split = split
        everything, numbers = self.source.frames, split.numbers(self.source.frames)
        self.frames: dict[str, Sequence[Frame]] = {part: everything.at(chosen) for part, chosen in numbers.items()}
        self.division = {part: [self.source.keys[number] for number in chosen] for part, chosen in numbers.items()}
        self.references: References | None = None
        self.teacher: dict[str, Distillation | None] = dict.fromkeys(SPLITS)
        self.cutoff = 0.0
        self.max_neighbors: int | None = None

    def prepare_run(self, directory: Path, cutoff: float, dtype: torch.dtype, max_neighbors: int | None = None) -> None:
        """Say what there is, and fix what the student needs to know; a report is written to the directory."""
        self.cutoff, self.max_neighbors, self.dtype = cutoff, max_neighbors, dtype
        if max_neighbors is not None:
            log.warning(
                "student.max_neighbors=%d: energies will jump where neighbours change rank, and depend on the order of "
                "atoms; leave it null except to repeat the prior art",
                max_neighbors,
            )
        self._say_what_there_is()
        if self.report:
            rank_zero_only(write_report)(self.name, self.frames, self.find_neighbors(), cutoff, directory)
        if self.reference == "data":
            self.references = self._find_references()
            self.references.of(np.array(self.elements))
            energies = ", ".join(f"{chemical_symbols[z]} {e:.3f}" for z, e in self.references.energies.items())
            log.info("reference energies in eV (%s): %s", self.references.origin, energies)

    def _say_what_there_is(self) -> None:
        compare_size(self.name, len(self.source), self.expected_size)
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
        isolated = self.source.free_atom_energies
        if self._chosen is None and isolated.keys() >= set(self.elements):
            return References({z: isolated[z] for z in self.elements}, "isolated atoms of the data")
        if self._chosen is None or self._chosen == "fit":
            return least_squares(self.frames["train"])
        if isinstance(self._chosen, str):
            raise ConfigError(f"data.reference_energies={self._chosen}", "give fit, or energies in eV as {H: -13.6, …}")
        for symbol, energy in self._chosen.items():
            if symbol not in atomic_numbers or not isinstance(energy, int | float):
                raise ConfigError(f"data.reference_energies has {symbol}: {energy}", "give eV by H, C, Si, …")
        return References({atomic_numbers[symbol]: e for symbol, e in self._chosen.items()}, "data.reference_energies")

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
                adopted.append(own.known_as(frame.key))
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


def of_module(function: Callable[..., DistillationData]) -> Callable[..., DistillationData]:
    """Say of a function that its `**options` are those of `DistillationData`, so that they are checked as its own."""
    own = dict(signature(function).parameters)
    rest = own.popitem()[1]
    assert rest.kind is Parameter.VAR_KEYWORD
    options = {name: option for name, option in signature(DistillationData).parameters.items() if name != "read"}
    named = [option.replace(kind=Parameter.KEYWORD_ONLY) for option in {**options, **own}.values()]
    vars(function)["__signature__"] = Signature(named)
    return function


@of_module
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
    """The data module of files that ASE reads; see `extxyz.read` and `DistillationData`."""
    read = partial(extxyz.read, path, energy_key, forces_key, units, group_key, split_key, format)
    return DistillationData(read=read, **options)

"""The LightningDataModule: a prepared set, divided into splits, joined with a teacher's labels, in batches."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import lightning
import numpy as np
import torch
from ase.data import chemical_symbols

from jointkd.data.alignment import align
from jointkd.data.dataset import Distillation, EpochBatches, ResumableLoader, StructureDataset
from jointkd.data.options import DataOptions
from jointkd.data.padded_sizes import PaddedBatches, padded_sizes
from jointkd.data.prepared import QUARANTINE, PreparedSet, prepare
from jointkd.data.provenance import origin_of
from jointkd.data.references import References, choose_references, least_squares
from jointkd.data.row_sampling import check_sampling
from jointkd.data.split_labels import adopted, check_directions, labelled, tested_rows
from jointkd.data.splits import SPLITS, save, shared_groups
from jointkd.data.stored_neighbors import NeighborsOf, neighbors_of, pairs_of
from jointkd.data.subsets import compare_size
from jointkd.data.unlabelled import (
    added_frames,
    check_labels,
    completed,
    divide,
    referenced,
    to_be_labelled,
    with_plausible_forces,
)
from jointkd.errors import ConfigError
from jointkd.files.run_files import SPLIT
from jointkd.labels.records import TeacherIdentity
from jointkd.labels.store import LabelStore
from jointkd.structures.batch import COMPLETED, Precomputed, Structure, collate
from jointkd.structures.columns import elements_of, evenly_spread, keys_of, numbers_of, with_energies
from jointkd.structures.frame import Frame

log = logging.getLogger(__name__)

SMALLEST_TEST_BATCH = 8  # structures; without gradients of weights a batch needs less memory


class DistillationData(lightning.LightningDataModule):
    """Structures with reference labels and, after `join`, with a teacher's labels.

    Call `prepare_neighbors` first, which fixes the student's neighbours, and then `fit_references`, which fixes the
    reference energies (with data.reference=teacher, `join` does that).
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
        frames = self.source.frames
        indices = divide(options, frames)
        self.frames: dict[str, Sequence[Frame]] = {split: frames.at(part) for split, part in indices.items()}
        self.division = {split: [self.source.keys[index] for index in part] for split, part in indices.items()}
        self.references: References | None = None
        self.teacher: dict[str, Distillation | None] = dict.fromkeys(SPLITS)
        self.from_teacher = dict.fromkeys(COMPLETED, 0)  # how many training structures have the teacher's instead
        self.cutoff = 0.0
        self.max_neighbors: int | None = None
        self.graph_of: Callable[[Structure], Precomputed] | None = None
        self.padded_graph_of: Callable[[Structure], Precomputed] | None = None
        self.padding = False

    def _prepared_set(self) -> PreparedSet:
        options, reader = self.options, self.options.reader()
        folder, origin, added = options.prepared, {}, added_frames(options)
        if folder is None:
            self._folder = TemporaryDirectory(prefix="jointkd-")
            folder = self._folder.name
        else:
            origin = origin_of(reader, options.rules, options.max_force, options.added_files)
        return prepare(Path(folder).expanduser(), options.name, reader, options.rules, options.max_force, origin, added)

    def prepare_neighbors(
        self,
        cutoff: float,
        dtype: torch.dtype,
        max_neighbors: int | None = None,
        graph_of: Callable[[Structure], Precomputed] | None = None,
    ) -> None:
        """Fix the student's cutoff (Å), precision and cap on neighbours, and log the contents of the data set.

        graph_of: makes what the student derives from the neighbour list alone, once for each batch.
        """
        self.cutoff, self.max_neighbors, self.dtype, self.graph_of = cutoff, max_neighbors, dtype, graph_of
        if max_neighbors is not None:
            log.warning(
                "student.max_neighbors=%d: energies will jump where the order of neighbours by distance changes, and "
                "depend on the order of atoms; leave it null except to repeat the prior art",
                max_neighbors,
            )
        self._log_contents()

    def fit_references(self) -> None:
        """Find the reference energies, unless they will be the teacher's. Raises ConfigError, DataError."""
        if self.reference != "data":
            return
        check_labels(self.name, to_be_labelled(self.options, self.frames))
        self._choose_references()

    def _choose_references(self, teacher: dict[int, float] | None = None) -> None:
        """Find the reference energies of the data. teacher: energies (eV) of its free atoms by atomic number."""
        free, training = self.source.free_atom_energies, with_energies(self.frames["train"])
        references = choose_references(self.options.reference_energies, free, self.elements, training, teacher)
        references.of(np.array(self.elements))  # raises DataError for an element without one
        references.check(training)
        if references == self.references:
            return
        log.info("reference energies in eV (%s): %s", references.origin, references)
        if references.undetermined:
            log.warning(
                "energies of other compositions than those of the training split will be estimates; give "
                "data.reference_energies, or an isolated atom of each element, to mend that"
            )
        self.references = references

    def _log_contents(self) -> None:
        compare_size(self.name, len(self.source), self.options.expected_size)
        for reason, count in self.source.manifest["set_aside"].items():
            log.warning("quarantined %d structures: %s (%s)", count, reason, self.source.path / QUARANTINE)
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
        """Write the split, as it was before labels were joined, to a file that `data.split.path` reads."""
        divided = set().union(*self.division.values())
        save(self.split, self.division, directory / SPLIT, [key for key in self.source.keys if key not in divided])

    @cached_property
    def elements(self) -> list[int]:
        """The atomic numbers that occur in any split, in ascending order."""
        return sorted(set().union(*map(elements_of, self.frames.values())))

    def join(self, store: LabelStore, train_rows: int, eval_rows: int | str, sampling: str = "fresh") -> None:
        """Add a teacher's labels. Raises LabelMismatch for missing labels, CorruptShard, and ConfigError.

        train_rows, eval_rows: Hessian rows per structure in a training step and in the test (`all`: as many as the
        largest structure has, so that smaller ones are tested on some rows more than once); sampling: how the rows of
        a training step are chosen, see `row_sampling`.
        """
        check_sampling(sampling)
        store.verify()
        if self.reference == "teacher":
            self._adopt(store)
        elif self.references and self.references.undetermined and store.teacher.free_atom_energies:
            self._choose_references(store.teacher.free_atom_energies)
        train, test = self.labelled("train", store), self.labelled("test", store)
        assert self.references is not None
        completes, atomic = self.options.completes, store.teacher.atomic_energies
        shift = align(with_energies(train), store.energies, self.references) if atomic or completes else None
        alignment = shift if atomic else None
        if completes:
            train = with_plausible_forces(train, store, self.options.max_force)
        check_directions(store, train, train_rows, test if eval_rows else [])
        log.info("%s", shift or f"{store.teacher.name} has no atomic energies, so no energies are aligned")
        if alignment and (absent := alignment.without(test)):
            log.warning(
                "%s: only the test split has these elements, so their atomic energies are tested without alignment",
                ", ".join(chemical_symbols[z] for z in absent),
            )
        self.frames = {**self.frames, "train": train, "test": test}
        if completes and shift:
            self.from_teacher = completed(train, shift, store.teacher.name)
        self.teacher = {
            "train": Distillation(
                store, alignment, train_rows, sampling, bool(store.settings.get("probes")), shift if completes else None
            ),
            "val": None,
            "test": Distillation(store, alignment, tested_rows(eval_rows, store, keys_of(test))),
        }

    def labelled(self, split: str, store: LabelStore) -> Sequence[Frame]:
        """The frames of a split that the teacher could label. Raises LabelMismatch where labels have not been made."""
        return labelled(self.name, split, self.frames[split], store)

    def _adopt(self, store: LabelStore) -> None:
        """Use the teacher's energies, forces and free-atom energies as the reference.

        Where its free-atom energies are unknown, the reference energies are fitted to its total energies.
        """
        identity: TeacherIdentity = store.teacher
        for split in SPLITS:
            self.frames[split] = [adopted(frame, store) for frame in self.labelled(split, store)]
        self.references = (
            References(identity.free_atom_energies, f"free atoms of {identity.name}")
            if identity.free_atom_energies
            else least_squares(self.frames["train"])
        )

    def find_neighbors(self) -> NeighborsOf:
        """The neighbours within the student's cutoff, computed for all structures once and stored with the set."""
        return neighbors_of(self.source, self.cutoff, self.max_neighbors)

    def pad_batches(self, graph_of: Callable[[Structure], Precomputed] | None) -> None:
        """Pad the batches of training to a few sizes (see `padded_sizes`), as a compiled step needs them.

        graph_of: as that of `prepare_neighbors`, for padded batches.
        """
        self.padding, self.padded_graph_of = True, graph_of

    def batches(self, frames: Sequence[Frame], most: int, reference: bool = True) -> Iterator[Structure]:
        """At most so many of the structures of a split, evenly spread, in batches without a teacher's labels.

        reference: with reference labels, which all of them must then have. The batches are the same in every process.
        """
        references = self.references if reference else None
        dataset = StructureDataset(frames, self.find_neighbors(), references, None, self.seed)
        chosen, size = evenly_spread(range(len(frames)), most), max(self.batch_size, SMALLEST_TEST_BATCH)
        for start in range(0, len(chosen), size):
            yield collate([dataset[0, index] for index in chosen[start : start + size]], self.dtype, self.graph_of)

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
            raise ConfigError(f"trainer.accumulate_grad_batches={parts} must be a positive integer", "give at least 1")
        if min(self.batch_size, len(frames)) < ranks * parts:
            processes = f"{ranks} processes" + (f", each with {parts} micro-batches," if parts > 1 else "")
            raise ConfigError(
                f"{processes} cannot share the {len(frames)} structures of the {split} split in batches of "
                f"data.batch_size={self.batch_size}",
                "raise data.batch_size, give more structures, or lower trainer.devices"
                + (" or trainer.accumulate_grad_batches" if parts > 1 else ""),
            )
        dataset = StructureDataset(frames, self.find_neighbors(), self.references, self.teacher[split], self.seed)
        size = self.batch_size if shuffle else max(self.batch_size, SMALLEST_TEST_BATCH)
        batches = EpochBatches(len(frames), size, self.seed, shuffle, rank, ranks, parts, referenced(frames))
        join: Callable[[list[Structure]], Structure] = partial(collate, dtype=self.dtype, graph_of=self.graph_of)
        if shuffle and self.padding:
            join = self._padded(batches) or join
        return ResumableLoader(dataset, batches, join, self.workers if shuffle else 0)

    def _padded(self, batches: EpochBatches) -> PaddedBatches | None:
        """Makes padded batches of the training split; None where its pairs have not been counted."""
        pairs = pairs_of(self.find_neighbors(), keys_of(self.frames["train"]))
        if pairs is None:
            log.info("the neighbours are not stored, so batches are not padded to sizes for which a step is compiled")
            return None
        atoms = np.array(numbers_of(self.frames["train"])[1])
        sizes = padded_sizes(atoms, pairs, batches)
        return PaddedBatches(sizes, 2 * self.cutoff, self.dtype, self.graph_of, self.padded_graph_of)

"""The test split of a run: its structures in batches, with the teacher's labels where these exist."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from jointkd.data.alignment import Alignment, align
from jointkd.data.datamodule import SMALLEST_TEST_BATCH
from jointkd.data.dataset import Distillation, EpochBatches, ResumableLoader, StructureDataset
from jointkd.data.prepared import PreparedSet
from jointkd.data.references import References
from jointkd.data.split_labels import adopted, tested_rows
from jointkd.data.stored_neighbors import computed
from jointkd.errors import DataError
from jointkd.labels.store import LabelStore
from jointkd.structures.batch import collate
from jointkd.structures.columns import with_energies
from jointkd.structures.frame import Frame

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluatedSplit:
    """Structures that a run was tested on. Raises DataError where the set lacks some of them.

    test, train: content keys; references: of the run; store: the teacher's labels, None without; rows: Hessian rows per
    structure; adopted: the teacher's energies and forces are the reference.
    """

    source: PreparedSet
    test: Sequence[str]
    train: Sequence[str]
    references: References
    store: LabelStore | None
    rows: int | str
    adopted: bool
    batch_size: int
    seed: int

    def loader(self, student: Any) -> ResumableLoader:
        """Batches with the neighbours and the graph of a student, in single precision."""
        frames = self.frames(self.test)
        neighbors = partial(computed, cutoff=student.cutoff, max_neighbors=student.max_neighbors)
        dataset = StructureDataset(frames, neighbors, self.references, self._distillation(), self.seed)
        batches = EpochBatches(len(frames), max(self.batch_size, SMALLEST_TEST_BATCH), self.seed, shuffle=False)
        join = partial(collate, dtype=torch.float32, graph_of=getattr(student, "graph_of", None))
        return ResumableLoader(dataset, batches, join, workers=0)

    def frames(self, keys: Sequence[str]) -> Sequence[Frame]:
        """The structures with these keys that the teacher did not fail on, in the order of the set."""
        present = set(self.source.keys)
        if missing := [key for key in keys if key not in present]:
            raise DataError(
                f"{len(missing)} of {len(keys)} structures of the run's split are not in {self.source.path}",
                "give the data that the run was trained on",
            )
        failed = self.store.failed if self.store else {}
        kept = sorted(self.source.index_of(key) for key in keys if key not in failed)
        if len(kept) < len(keys):
            log.warning("%d structures of the run's split have no usable labels", len(keys) - len(kept))
        frames = self.source.frames.at(kept)
        if self.adopted:
            assert self.store is not None
            return [adopted(frame, self.store) for frame in frames]
        return frames

    def _distillation(self) -> Distillation | None:
        """The labels as the data set takes them."""
        if self.store is None:
            return None
        labelled = [key for key in self.test if key in self.store]
        return Distillation(self.store, self.alignment(), tested_rows(self.rows, self.store, labelled))

    def alignment(self) -> Alignment | None:
        """The shift of the teacher's atomic energies, from the training split; None where its labels are not here."""
        store = self.store
        if store is None or not store.teacher.atomic_energies:
            return None
        if not (set(self.source.keys) >= set(self.train) and all(store.is_done(key) for key in self.train)):
            log.info(
                "atomic energies are not evaluated: their alignment needs the training split and its labels in %s",
                store.path,
            )
            return None
        alignment = align(with_energies(self.frames(self.train)), store.energies, self.references)
        log.info("%s", alignment)
        return alignment


def references_of(module: Any) -> References:
    """The reference energies that a checkpoint holds."""
    energies = np.asarray(module.reference_energies.cpu())
    return References(dict(enumerate(energies.tolist())), "the run's checkpoint")

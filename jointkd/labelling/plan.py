"""Which labels are to be made, by which teacher, and where they are stored."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from jointkd.errors import LabelMismatch
from jointkd.labels.directions import are_probes, check_rows, choose_rows, draw_probes
from jointkd.labels.manifest import FILE as MANIFEST
from jointkd.labels.store import LabelStore
from jointkd.ranges import check_integer, check_seed
from jointkd.structures.frame import Frame
from jointkd.teachers.spec import TeacherSpec

Directions = dict[str, np.ndarray]  # by the key of a structure: along which its Hessian is labelled
LABELS = Path("outputs/labels")


@dataclass(frozen=True)
class LabelOptions:
    """Which labels are made, and where they are stored: the options `label.…`. Raises ConfigError."""

    path: str | None = None  # directory of the label store; None: outputs/labels/TEACHER/DATA-DTYPE-ROWS-EVAL_ROWS
    rows: int | str = "all"  # Hessian rows per training structure: all, or a number of random rows
    probes: int = 0  # products of the Hessian with random vectors per training structure, which then has no rows
    eval_rows: int | str = 4  # Hessian rows per test structure
    validation: bool = False  # also label validation structures, without rows
    seed: int = 0  # seed of the choice of rows or probes
    shard_size: int = 16  # structures per shard; a killed process loses at most the labels of so many

    def __post_init__(self) -> None:
        for name, rows in (("rows", self.rows), ("eval_rows", self.eval_rows)):
            check_rows(f"label.{name}", rows)
        check_integer("label.probes", self.probes, least=0)
        check_seed("label.seed", self.seed)
        check_integer("label.shard_size", self.shard_size)

    @property
    def settings(self) -> dict[str, Any]:
        """The choice of rows or probes, which all labels of a store share."""
        chosen = {"rows": 0, "probes": self.probes} if self.probes else {"rows": self.rows}
        return {**chosen, "eval_rows": self.eval_rows, "row_seed": self.seed}

    @property
    def folder_part(self) -> str:
        """What a training structure gets, in the name of a folder."""
        return f"{self.probes}probes" if self.probes else str(self.rows)


@dataclass(frozen=True)
class LabelPlace:
    """The directories in which the labels of a teacher for a data set may be stored."""

    teacher: TeacherSpec
    options: LabelOptions
    data: str  # name of the data set

    @property
    def expected(self) -> dict[str, Any]:
        """The teacher's fingerprint and the choice of rows in the manifest of such a store, as far as known."""
        return {**self.teacher.fingerprint(), **self.options.settings}

    def candidates(self) -> Iterator[Path]:
        """The directory that the option names; else the default directory, and those with -2, -3, … appended."""
        options = self.options
        if options.path is not None:
            yield Path(options.path)
            return
        name = f"{self.data}-{self.teacher.dtype}-{options.folder_part}-{options.eval_rows}"
        for suffix in chain([""], (f"-{number}" for number in count(2))):
            yield LABELS / self.teacher.name / f"{name}{suffix}"

    def directories(self) -> list[Path]:
        """All candidates that exist; the first one if none does."""
        return list(takewhile(has_labels, self.candidates())) or [next(self.candidates())]

    def directory_of(self, directions: Directions) -> Path:
        """The directory for labels of structures along these directions; `label.path` if it is given.

        It is the first candidate that has labels of some of the structures, none along fewer directions, or that has
        no labels yet. So labels of different data sets of the same name, as from files in two folders, are stored
        separately, and so are those of two divisions of a data set, where structures of one's training split belong to
        the other's test split.
        """
        for path in self.candidates():
            if self.options.path is not None or not has_labels(path):
                break
            store = LabelStore.open(path)
            if not len(store) or (directions.keys() & store.keys() and not along_fewer(store, directions)):
                break
        return path


@dataclass(frozen=True)
class LabelPlan:
    """The structures that a teacher is to label, along which directions, and the directory of the label store."""

    place: LabelPlace
    path: Path
    frames: dict[str, Frame]  # by key
    directions: Directions

    @property
    def teacher(self) -> TeacherSpec:
        """The teacher that makes the labels."""
        return self.place.teacher

    @property
    def options(self) -> LabelOptions:
        """The options of labelling."""
        return self.place.options

    @property
    def exhausted(self) -> int:
        """The number of structures with no fewer probes than their Hessians have rows."""
        return sum(are_probes(each) and len(each) >= each[0].size for each in self.directions.values())

    @classmethod
    def of(cls, place: LabelPlace, splits: Mapping[str, Sequence[Frame]], adopted: bool) -> "LabelPlan":
        """The labels that training and testing on these splits need.

        adopted: the teacher also provides the reference energies and forces, so validation structures are labelled too.
        """
        options = place.options
        rows_of = {"train": options.rows, "test": options.eval_rows}
        if adopted or options.validation:
            rows_of["val"] = 0
        frames = {frame.key: frame for split in rows_of for frame in splits[split]}
        directions = {
            frame.key: draw_probes(frame.key, len(frame), options.probes, options.seed)
            if options.probes and split == "train"
            else choose_rows(frame.key, len(frame), rows, options.seed)
            for split, rows in rows_of.items()
            for frame in splits[split]
        }
        return cls(place, place.directory_of(directions), frames, directions)

    def open_store(self) -> LabelStore | None:
        """The label store; None if it does not exist yet. Raises LabelMismatch if it holds other labels."""
        if not has_labels(self.path):
            return None
        store = LabelStore.open(self.path)
        store.check(self.place.expected)
        if len(store) and not self.frames.keys() & store.keys():
            raise LabelMismatch(
                f"the labels in {self.path} are of other structures than data={self.place.data}",
                "name another directory with label.path=…",
            )
        check_directions(store, self.directions)
        return store


def has_labels(path: Path) -> bool:
    """Whether a directory is a label store."""
    return (path / MANIFEST).exists()


def along_fewer(store: LabelStore, directions: Directions) -> int:
    """The number of structures that a store has along fewer directions than are wanted now; rows serve as probes."""
    labelled = (key for key in directions if key in store)
    return sum(labelled_along(store, key, directions[key]) < len(directions[key]) for key in labelled)


def labelled_along(store: LabelStore, key: str, directions: np.ndarray) -> int:
    """The number of directions of a structure in a store that can take the place of others."""
    return store.direction_count(key) if are_probes(directions) else store.row_count(key)


def check_directions(store: LabelStore, directions: Directions) -> None:
    """Raise LabelMismatch if structures have fewer directions, as may happen when they change the split."""
    if short := along_fewer(store, directions):
        raise LabelMismatch(
            f"{short} structures have fewer Hessian rows or probes in {store.path} than the options require now",
            "name another directory with label.path=…",
        )

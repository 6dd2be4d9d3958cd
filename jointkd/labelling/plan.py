"""Which labels a configuration asks for, and where they lie."""

from collections.abc import Iterator, Set
from itertools import chain, count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from jointkd.errors import ConfigError, LabelMismatch
from jointkd.labelling.loop import RowIds
from jointkd.labels.records import choose_rows
from jointkd.labels.store import LabelStore
from jointkd.structures.frame import Frame
from jointkd.teachers import ase
from jointkd.teachers.base import sha256_of
from jointkd.teachers.ensemble import joint_checksum

if TYPE_CHECKING:
    from jointkd.data.datamodule import DistillationData  # lightning takes seconds to import, and labels need none


class Wanted(NamedTuple):
    """Which labels a configuration asks for, and where they lie or will."""

    path: Path
    frames: dict[str, Frame]  # by key
    row_ids: RowIds
    settings: dict[str, Any]  # of the store


def wanted_labels(config: DictConfig, data: "DistillationData") -> Wanted:
    """The structures and rows that a run with this configuration needs labels of. Raises ConfigError."""
    if "_target_" not in config.teacher:
        raise ConfigError("teacher=none makes no labels", "choose a teacher with teacher=…")
    for name in ("rows", "eval_rows"):
        rows = config.label[name]
        if rows != "all" and not (isinstance(rows, int) and rows >= 0):
            raise ConfigError(f"label.{name}={rows} is no number of Hessian rows", "give a number, or all")
    atoms = config.teacher.get("batch_atoms")
    if atoms is not None and atoms < 1:
        raise ConfigError(f"teacher.batch_atoms={atoms} is no number of atoms", "give at least 1, or null for a probe")
    wanted = {"train": config.label.rows, "test": config.label.eval_rows}
    if data.reference == "teacher" or config.label.validation:
        wanted["val"] = 0
    frames = {frame.key: frame for split in wanted for frame in data.frames[split]}
    row_ids = {
        frame.key: choose_rows(frame.key, len(frame), rows, config.label.seed)
        for split, rows in wanted.items()
        for frame in data.frames[split]
    }
    return Wanted(place_of(config, frames.keys()), frames, row_ids, settings_of(config))


def settings_of(config: DictConfig) -> dict[str, Any]:
    """Which rows are labelled: what the labels of one store have in common."""
    return {"rows": config.label.rows, "eval_rows": config.label.eval_rows, "row_seed": config.label.seed}


def directories(config: DictConfig) -> Iterator[Path]:
    """Where labels of a configuration may lie: label.path, or the default name, or that with a number."""
    if config.label.path is not None:
        yield Path(config.label.path)
        return
    teacher, label = config.teacher, config.label
    name = f"{config.data.name}-{teacher.dtype}-{label.rows}-{label.eval_rows}"
    for suffix in chain([""], (f"-{number}" for number in count(2))):
        yield Path("outputs/labels") / teacher.name / f"{name}{suffix}"


def place_of(config: DictConfig, keys: Set[str]) -> Path:
    """The first of these directories that has labels of some of the structures, or none yet; `label.path` in any case.

    So data sets of one name, as of two files of one name in two folders, do not come into each other's way.
    """
    for path in directories(config):
        if config.label.path is not None or not has_labels(path):
            break
        store = LabelStore.open(path)
        if not len(store) or keys & store.keys():
            break
    return path


def places(config: DictConfig) -> list[Path]:
    """All of these directories that there are; the first in any case."""
    return list(takewhile(has_labels, directories(config))) or [next(directories(config))]


def has_labels(path: Path) -> bool:
    return (path / "manifest.json").exists()


def labels_there(config: DictConfig, wanted: Wanted) -> LabelStore | None:
    """The store of the configuration, or None before there is one. Raises LabelMismatch for one of other labels."""
    if not has_labels(wanted.path):
        return None
    store = LabelStore.open(wanted.path)
    store.check({**expected_teacher(config.teacher), **wanted.settings})
    if len(store) and not wanted.frames.keys() & store.keys():
        raise LabelMismatch(
            f"the labels in {wanted.path} are of other structures than data={config.data.name}",
            "name another directory with label.path=…, or delete that one",
        )
    check_rows(store, wanted.row_ids)
    return store


def check_rows(store: LabelStore, row_ids: RowIds) -> None:
    """Raises LabelMismatch for structures that were labelled with fewer rows, as when they changed the split."""
    short = [key for key, ids in row_ids.items() if key in store and store.row_count(key) < len(ids)]
    if short:
        raise LabelMismatch(
            f"{len(short)} structures have fewer Hessian rows in {store.path} than are asked for now",
            "name another directory with label.path=…, or delete that one",
        )


def expected_teacher(teacher: DictConfig) -> dict[str, str | None]:
    """What is known of a teacher without loading it."""
    known = {"name": teacher.name, "dtype": teacher.dtype, "head": teacher.get("head")}
    if teacher.get("checkpoint") and (file := Path(teacher.checkpoint).expanduser()).exists():
        known["checkpoint"] = sha256_of(file)
    if "checkpoints" in teacher:
        files = [Path(member).expanduser() for member in teacher.checkpoints]
        if all(file.exists() for file in files):
            known["checkpoint"] = joint_checksum([sha256_of(file) for file in files])
    if "calculator" in teacher and ase.version_of(teacher.calculator):
        options = OmegaConf.to_container(teacher, resolve=True)
        assert isinstance(options, dict)
        known["checkpoint"] = ase.description(
            *(options[name] for name in ("calculator", "options", "displacement", "atomic_energies"))
        )
    return known

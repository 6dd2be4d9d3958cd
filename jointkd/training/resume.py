"""A run that goes on: which options may differ from those it began with, and which data it must have."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from jointkd.cli.config_tree import as_text, flatten
from jointkd.errors import ConfigError, DataError
from jointkd.files.run_files import CONFIGURATION, PROVENANCE
from jointkd.moved import current_name
from jointkd.training.checkpoint_files import read_checkpoint

log = logging.getLogger(__name__)

FREE = {  # options, or groups of them, that change neither the objective nor the data nor the student
    *("trainer", "compile", "logger", "name", "ckpt_path", "overwrite"),
    *("label.path", "label.shard_size", "label.validation"),
    *(f"callbacks.{name}" for name in ("early_stopping", "interrupt", "progress", "checkpoint", "last")),
    *("teacher.python", "teacher.device", "teacher.batch_atoms"),
    *("data.path", "data.train", "data.val", "data.test", "data.prepared", "data.source"),  # data: by content
    *("data.unlabelled", "data.downloads", "data.workers", "data.report"),
}
SILENT = {"logger", "name", "ckpt_path", "overwrite", "label.path", "data.prepared", "data.path"}  # not worth a line
FOLLOWS = {"schedulers.cosine.T_max"}  # trainer.max_epochs, unless it is set
ABSENT = "not set"


@dataclass(frozen=True)
class RunRecord:
    """What a checkpoint says of its run."""

    configuration: str  # the whole configuration as YAML
    data: dict[str, str]  # a hash of the content keys of each split
    version: str = version("jointkd")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Origin:
    """The checkpoint that training goes on from."""

    path: Path
    epoch: int  # counted from zero; of the last step
    record: RunRecord | None  # None where neither the checkpoint nor its folder has one

    @classmethod
    def of(cls, path: Path) -> "Origin":
        """Read a checkpoint; one of version 0.1 has its record in the folder of its run. Raises DataError."""
        checkpoint = read_checkpoint(path)
        if "run" in checkpoint:
            return cls(path, checkpoint["epoch"], RunRecord(**checkpoint["run"]))
        folder = path.absolute().parent.parent
        try:
            configuration = (folder / CONFIGURATION).read_text(encoding="utf-8")
            provenance = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
            return cls(path, checkpoint["epoch"], RunRecord(configuration, provenance["data"], "0.1"))
        except (OSError, ValueError, KeyError):
            return cls(path, checkpoint["epoch"], None)

    def check_options(self, configuration: str, max_epochs: int | None) -> list[str]:
        """The options that differ in effect from those the run began with, as text.

        Raises ConfigError for one that would change the objective, the data or the student, or that the checkpoint
        would override, and for fewer epochs than there have been.
        """
        if max_epochs is not None and 0 <= max_epochs <= self.epoch:
            raise ConfigError(
                f"trainer.max_epochs={max_epochs}, but {self.path} is of epoch {self.epoch + 1}",
                "give more epochs, or begin a new run without ckpt_path",
            )
        if self.record is None:
            log.warning("%s does not say with which options it was made: they are not compared", self.path)
            return []
        differing = differences(self.record, configuration)
        refused = [line for name, line in differing.items() if not (within(name, FREE) or name in FOLLOWS)]
        if refused:
            raise ConfigError(
                f"the run of {self.path} cannot go on with other options: {'; '.join(refused)}",
                "give the options it began with, or begin a new run without ckpt_path (student_weights=STUDENT begins "
                "with its weights)",
            )
        return [line for name, line in differing.items() if not within(name, SILENT)]

    def check_data(self, hashes: Mapping[str, str]) -> None:
        """Raise DataError where the structures of a split are not those the run began with."""
        if self.record is not None and (other := [name for name in hashes if hashes[name] != self.record.data[name]]):
            raise DataError(
                f"the structures of {', '.join(other)} are not those with which the run of {self.path} began",
                "give the data it began with, or begin a new run without ckpt_path",
            )


def differences(record: RunRecord, configuration: str) -> dict[str, str]:
    """Every option that has another value than in a record, by name; files are compared by name without their folder.

    Options that only one of them has count as well, unless the record is of another version, which has other options.
    """
    before, now = options_of(record.configuration), options_of(configuration)
    names = before.keys() & now.keys() if record.version != version("jointkd") else before.keys() | now.keys()
    return {
        name: f"{name}={now.get(name, ABSENT)} (before: {before.get(name, ABSENT)})"
        for name in sorted(names)
        if before.get(name, ABSENT) != now.get(name, ABSENT)
    }


def options_of(configuration: str) -> dict[str, str]:
    """The options of a configuration as text by dotted name, without those of folders that callbacks write to."""
    options = {}
    for name, value in flatten(yaml.safe_load(configuration)).items():
        if isinstance(value, dict) or name.endswith((".dirpath", ".directory")):
            continue
        text = as_text(value)
        options[name] = current_name(text) if name.endswith("._target_") else text
    return options


def within(name: str, groups: set[str]) -> bool:
    """Whether an option is one of these, or lies in a group that is."""
    return any(name == group or name.startswith(f"{group}.") for group in groups)

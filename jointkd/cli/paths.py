"""Options that name files: ~ is the home folder in all of them, and files that are read must exist."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from jointkd.errors import ConfigError, DataError

READ = {  # must exist before a command begins
    "ckpt_path",
    "data.path",
    "data.split.path",
    "data.test",
    "data.train",
    "data.unlabelled",
    "data.val",
    "committee",
    "finetune",
    "label.merge",
    "reference",
    "run",
    "runs",
    "slices",
    "structure",
    "structures",
    "training",
    "student_weights",
    "teacher.run",
    "with",
}
OWN_FILES = "jointkd.data.options.FileData"
FILES = READ | {
    "checkpoint",
    "data.downloads",
    "data.prepared",
    "data.source",
    "directory",
    "hydra.run.dir",
    "hydra.sweep.dir",
    "label.path",
    "output",
    "plot",
    "teacher.checkpoint",
    "teacher.checkpoints",
    "teacher.python",
}
# may be an address on the Hugging Face hub
OF_STUDENTS = {"committee", "finetune", "run", "student_weights", "teacher.run"}
LISTS = {"committee", "data.unlabelled", "output", "run", "teacher.checkpoints"}  # may name several
SEVERAL = {  # an option of each command that takes several: simulate, scan, spectrum, evaluate, and those with data
    "data.unlabelled": ("data",),
    "committee": ("uncertainty",),
    "run": ("sample", "slices", "along", "checkpoint"),
}
KEYWORDS = {"last", "teacher"}  # of ckpt_path, and of with
HOME = re.compile(r"""(^|[,\[]\s*)(["']?)(~[^/,'"\]]*)""")  # at the beginning, also of an entry of a list or a sweep


def expand_home(value: Any) -> Any:
    """The value of an option that names files with ~ and ~user as home folders; others than strings as they are."""
    if not isinstance(value, str):
        return value
    return HOME.sub(lambda match: match[1] + match[2] + os.path.expanduser(match[3]), value)


def check_files(config: DictConfig, swept: Iterable[str] = ()) -> None:
    """Raise DataError for a file that is to be read and does not exist.

    Raises ConfigError where data=extxyz names none, and for several runs where a command takes one.

    Patterns with * are left to their readers. swept: options with another value in each job of a sweep, which are
    checked when it begins.
    """
    if (
        OmegaConf.select(config, "data._target_") == OWN_FILES
        and config.data.path is None
        and config.data.train is None
    ):
        raise ConfigError("data.path is not set", "give data.path=…, or data.train, data.val and data.test")
    for option in sorted(READ.difference(swept)):
        value = OmegaConf.select(config, option)
        several = OmegaConf.is_list(value)
        if several and not any(own in config for own in SEVERAL.get(option, ())):
            raise ConfigError(f"{option}={value} must be one path", "give a folder or a file")
        if option == "data.path" and is_prepared_set(OmegaConf.select(config, "data.prepared")):
            continue  # a prepared set serves without the file that it was made of
        for each in value if several else [value]:
            check_exists(option, each)


def check_exists(option: str, path: object) -> None:
    """Raise DataError for the path of a file that does not exist."""
    if not isinstance(path, str) or not path or path in KEYWORDS or any(sign in path for sign in "*?["):
        return
    if path.startswith("hf://") and option in OF_STUDENTS:
        return
    if not Path(path).exists():
        raise DataError(f"{option}={path} does not exist", f"check the path; relative ones begin at {Path.cwd()}")


def is_prepared_set(path: str | None) -> bool:
    """Whether a path is that of a prepared set, rather than of the folder that holds several."""
    return path is not None and (Path(path) / "manifest.json").exists()

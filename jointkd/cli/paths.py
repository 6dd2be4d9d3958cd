"""Options that name files: ~ is the home folder in all of them, and files that are read must exist."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from jointkd.errors import DataError

READ = {  # must exist before a command begins
    "ckpt_path",
    "data.path",
    "data.split.path",
    "label.merge",
    "run",
    "runs",
    "structures",
    "student_weights",
    "teacher.run",
}
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
    "teacher.checkpoint",
    "teacher.checkpoints",
    "teacher.python",
}
KEYWORDS = {"last"}  # of ckpt_path
HOME = re.compile(r"""(^|[,\[]\s*)(["']?)(~[^/,'"\]]*)""")  # at the beginning, also of an entry of a list or a sweep


def expand_home(value: Any) -> Any:
    """The value of an option that names files with ~ and ~user as home folders; others than strings as they are."""
    if not isinstance(value, str):
        return value
    return HOME.sub(lambda match: match[1] + match[2] + os.path.expanduser(match[3]), value)


def check_files(config: DictConfig, swept: Iterable[str] = ()) -> None:
    """Raise DataError for a file that is to be read and does not exist; patterns with * are left to their readers.

    swept: options with another value in each job of a sweep, which are checked when it begins.
    """
    for option in sorted(READ.difference(swept)):
        value = OmegaConf.select(config, option)
        if not isinstance(value, str) or not value or value in KEYWORDS or any(sign in value for sign in "*?["):
            continue
        if not Path(value).exists():
            raise DataError(f"{option}={value} does not exist", f"check the path; relative ones begin at {Path.cwd()}")

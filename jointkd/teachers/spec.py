"""Specification of a teacher: plain values, to be compared with stored labels and sent to other processes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from jointkd.errors import ConfigError
from jointkd.files.atomic import combined_sha256
from jointkd.files.foreign_loads import foreign_loads
from jointkd.students.student_file import locate_student
from jointkd.teachers import ase
from jointkd.teachers.base import Teacher
from jointkd.teachers.ensemble import joint_checksum

TARGET, PARTIAL = "_target_", "_partial_"


@dataclass(frozen=True)
class TeacherSpec:
    """How a teacher is built: the import path of a class or function, and its arguments. Raises ConfigError."""

    target: str  # import path of a class or function that returns a `Teacher`
    options: Mapping[str, Any]  # its arguments, among them `name` and `dtype`
    python: str | None = None  # interpreter of another environment, which is to build it

    def __post_init__(self) -> None:
        atoms = self.options.get("batch_atoms")
        if atoms is not None and atoms < 1:
            raise ConfigError(
                f"teacher.batch_atoms={atoms} must be a positive integer or null",
                "give at least 1, or null to probe the fastest",
            )

    @property
    def name(self) -> str:
        """The name of the teacher, which its labels carry."""
        return str(self.options["name"])

    @property
    def dtype(self) -> str:
        """The precision of its labels."""
        return str(self.options["dtype"])

    @property
    def members(self) -> int:
        """Number of models that are averaged."""
        return len(self.options.get("checkpoints") or ()) or 1

    def build(self) -> Teacher:
        """Build the teacher. Raises UserErrors; among them MissingExtra if its package is not installed."""
        with foreign_loads():
            teacher: Teacher = instantiate(self.target, self.options)
        return teacher

    def in_dtype(self, dtype: str) -> "TeacherSpec":
        """The same teacher in another precision."""
        return replace(self, options={**self.options, "dtype": dtype})

    def on_device(self, device: str) -> "TeacherSpec":
        """The same teacher on a device, unless it has no such option or a device already."""
        if "device" not in self.options or self.options["device"] is not None:
            return self
        return replace(self, options={**self.options, "device": device})

    def fingerprint(self) -> dict[str, str | None]:
        """The known part of `TeacherIdentity.fingerprint`, without building the teacher."""
        options = self.options
        known = {"name": self.name, "dtype": self.dtype, "head": options.get("head")}
        if options.get("checkpoint") and (file := Path(options["checkpoint"]).expanduser()).exists():
            known["checkpoint"] = combined_sha256(file)
        if options.get("run") and (student := locate_student(Path(options["run"]).expanduser())).exists():
            known["checkpoint"] = combined_sha256(student)
        if "checkpoints" in options:
            files = [Path(member).expanduser() for member in options["checkpoints"]]
            if all(file.exists() for file in files):
                known["checkpoint"] = joint_checksum([combined_sha256(file) for file in files])
        if "calculator" in options and ase.version_of(options["calculator"]):
            known["checkpoint"] = ase.description(
                options["calculator"],
                options.get("options"),
                options.get("displacement", ase.DISPLACEMENT),
                options.get("atomic_energies"),
            )
        return known


def instantiate(target: str, options: Mapping[str, Any]) -> Any:
    """Call a class or function, given by its import path, with options; options `{_target_: …}` are instantiated first.

    With `_partial_: true` among the options, returns a partial of the callable. Raises ConfigError for an unknown path.
    """
    module, _, name = target.rpartition(".")
    try:
        callable_ = getattr(import_module(module), name)
    except (ModuleNotFoundError, AttributeError, ValueError) as error:
        raise ConfigError(f"teacher._target_={target} cannot be imported ({error})", "give an import path") from error
    arguments = {
        key: instantiate(value[TARGET], {k: v for k, v in value.items() if k != TARGET})
        if isinstance(value, Mapping) and TARGET in value
        else value
        for key, value in options.items()
        if key != PARTIAL
    }
    return partial(callable_, **arguments) if options.get(PARTIAL) else callable_(**arguments)

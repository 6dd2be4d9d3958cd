"""A teacher before it is built: plain values that can be compared with stored labels and sent to another process."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from jointkd.errors import ConfigError
from jointkd.files.atomic import combined_sha256
from jointkd.teachers import ase
from jointkd.teachers.base import Teacher
from jointkd.teachers.ensemble import joint_checksum

TARGET, PARTIAL = "_target_", "_partial_"


@dataclass(frozen=True)
class TeacherSpec:
    """How a teacher is built: the import path of what builds it, and its arguments. Raises ConfigError."""

    target: str  # a class or function that gives a `Teacher`
    options: Mapping[str, Any]  # its arguments, among them `name` and `dtype`
    python: str | None = None  # the interpreter of another environment that builds it

    def __post_init__(self) -> None:
        atoms = self.options.get("batch_atoms")
        if atoms is not None and atoms < 1:
            raise ConfigError(
                f"teacher.batch_atoms={atoms} must be a positive integer or null",
                "give at least 1, or null for a probe",
            )

    @property
    def name(self) -> str:
        return str(self.options["name"])

    @property
    def dtype(self) -> str:
        return str(self.options["dtype"])

    @property
    def members(self) -> int:
        """How many models are averaged."""
        return len(self.options.get("checkpoints") or ()) or 1

    def build(self) -> Teacher:
        """The teacher. Raises what building it raises, MissingExtra where its package is not here."""
        teacher: Teacher = made(self.target, self.options)
        return teacher

    def in_dtype(self, dtype: str) -> "TeacherSpec":
        """The same teacher in another precision."""
        return replace(self, options={**self.options, "dtype": dtype})

    def on_device(self, device: str) -> "TeacherSpec":
        """The same teacher on a device, unless it takes none or has one already."""
        if "device" not in self.options or self.options["device"] is not None:
            return self
        return replace(self, options={**self.options, "device": device})

    def fingerprint(self) -> dict[str, str | None]:
        """What is known of the identity of its labels without building it; see `TeacherIdentity.fingerprint`."""
        options = self.options
        known = {"name": self.name, "dtype": self.dtype, "head": options.get("head")}
        if options.get("checkpoint") and (file := Path(options["checkpoint"]).expanduser()).exists():
            known["checkpoint"] = combined_sha256(file)
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


def made(target: str, options: Mapping[str, Any]) -> Any:
    """What a callable, given by its import path, makes of its options; those that are `{_target_: …}` are made first.

    With `_partial_` it is the callable itself with some of its arguments. Raises ConfigError for an unknown path.
    """
    module, _, name = target.rpartition(".")
    try:
        callable_ = getattr(import_module(module), name)
    except (ModuleNotFoundError, AttributeError, ValueError) as error:
        raise ConfigError(f"teacher._target_={target} cannot be imported ({error})", "give an import path") from error
    arguments = {
        key: made(value[TARGET], {k: v for k, v in value.items() if k != TARGET})
        if isinstance(value, Mapping) and TARGET in value
        else value
        for key, value in options.items()
        if key != PARTIAL
    }
    return partial(callable_, **arguments) if options.get(PARTIAL) else callable_(**arguments)

"""The manifest of a label store: of which teacher its labels are, along which directions, in which units and sign."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jointkd.errors import CorruptShard, LabelMismatch
from jointkd.labels.records import SIGN, UNITS, TeacherIdentity

FILE = "manifest.json"
WRITTEN = {"format": 1, "units": UNITS, "sign": SIGN}  # the only format that this version reads
OPTIONS = {  # by the names of settings
    "rows": "label.rows",
    "probes": "label.probes",
    "eval_rows": "label.eval_rows",
    "row_seed": "label.seed",
}


@dataclass(frozen=True)
class Manifest:
    """What all labels of a store have in common. settings: the choice of Hessian rows or probes."""

    teacher: TeacherIdentity
    settings: dict[str, Any]

    def content(self) -> bytes:
        """The bytes of the file."""
        manifest = {**WRITTEN, "teacher": self.teacher.to_json(), "settings": self.settings}
        return json.dumps(manifest, indent=2).encode()

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """That of the store at `path`. Raises LabelMismatch if there is none or of another format, CorruptShard."""
        file = path / FILE
        if not file.exists():
            raise LabelMismatch(f"there are no labels in {path}", "make them with python -m jointkd.label …")
        try:
            manifest = json.loads(file.read_bytes())
            read = cls(TeacherIdentity.from_json(manifest["teacher"]), dict(manifest["settings"]))
            written = {name: manifest[name] for name in WRITTEN}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptShard(
                f"{file} is damaged, or of a newer version of jointkd ({error})",
                "restore it from a copy, upgrade jointkd, or name another directory with label.path=…",
            ) from error
        if written != WRITTEN:
            raise LabelMismatch(
                f"{file} has {written}, and this version of jointkd reads {WRITTEN}",
                "label again into another directory with label.path=…",
            )
        return read

    def check(self, expected: Mapping[str, Any], path: Path) -> None:
        """Raise LabelMismatch if teacher, dtype or choice of rows of the store at `path` are not the expected ones."""
        actual = {"probes": 0, **self.teacher.fingerprint(), **self.settings}
        if "rows" in expected:
            expected = {"probes": 0, **expected}
        differ = {OPTIONS.get(name, name): name for name, value in expected.items() if actual.get(name) != value}
        if differ:
            made = ", ".join(f"{option}={actual.get(name)}" for option, name in differ.items())
            wanted = ", ".join(f"{option}={expected[name]}" for option, name in differ.items())
            raise LabelMismatch(
                f"the labels in {path} were made with {made}, not {wanted}",
                "name another directory with label.path=…",
            )

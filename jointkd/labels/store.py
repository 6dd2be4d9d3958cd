"""A directory of teacher labels that any number of processes may write, and that a crash cannot spoil.

    manifest.json                    the teacher, its dtype, units and sign; written once, by whoever comes first
    shards/<sha256>.safetensors      immutable; the name is the checksum of the bytes
    claims/<chunk>.lock              held by the process that is labelling that chunk, freed when it dies

A shard is written under a temporary name and renamed when it is complete, so whatever is there under its final
name is whole. It holds, for each structure, the tensors `<key>/energy`, `/atomic_energies`, `/forces`, `/rows` and
`/row_ids`, and of an ensemble `/spread/energy`, `/spread/atomic_energies` and `/spread/forces`; rows are read one at a
time from the memory-mapped file.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jointkd.errors import CorruptShard, LabelMismatch
from jointkd.files.atomic import remove_leftovers, storage_errors, write_whole
from jointkd.labels.records import SIGN, UNITS, Spread, TeacherIdentity, TeacherLabels

WRITTEN = {"format": 1, "units": UNITS, "sign": SIGN}  # how this version writes labels, and all that it reads
NAME_LENGTH = 32
CHANGED = "its checksum does not match its name"


def has_its_checksum(shard: Path) -> bool:
    """Whether a shard holds the bytes that it was named by."""
    with shard.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:NAME_LENGTH] == shard.stem


class LabelStore:
    """Labels of one teacher, by content key. `LabelStore.create` to write, `LabelStore.open` to read."""

    def __init__(self, path: Path, teacher: TeacherIdentity, settings: dict[str, Any]) -> None:
        self.path = path
        self.teacher = teacher
        self.settings = settings
        self._shard_of: dict[str, Path] = {}
        self._failed: dict[str, str] = {}
        self._keys_of: dict[Path, list[str]] = {}  # of the structures in each shard, failed ones too
        self._open: dict[Path, Any] = {}

    @classmethod
    def create(cls, path: Path, teacher: TeacherIdentity, settings: dict[str, Any]) -> "LabelStore":
        """The store at `path`, made if it is not there; `settings` says which rows are labelled.

        Raises LabelMismatch where the store at `path` is of another teacher, dtype or choice of rows.
        """
        manifest = {**WRITTEN, "teacher": teacher.to_json(), "settings": settings}
        file = path / "manifest.json"
        with storage_errors(path, "label.path"):
            for folder in ("shards", "claims"):
                (path / folder).mkdir(parents=True, exist_ok=True)
            with FileLock(path / "claims" / "manifest.lock"):
                if not file.exists():
                    write_whole(file, json.dumps(manifest, indent=2).encode())
            remove_leftovers(path / "shards")
        store = cls.open(path)
        store.check({**teacher.fingerprint(), **settings})
        return store

    @classmethod
    def open(cls, path: Path) -> "LabelStore":
        """The store at `path`. Raises LabelMismatch where there is none, CorruptShard for a damaged file."""
        file = path / "manifest.json"
        if not file.exists():
            raise LabelMismatch(f"there are no labels in {path}", "make them with python -m jointkd.label …")
        try:
            manifest = json.loads(file.read_bytes())
            store = cls(path, TeacherIdentity.from_json(manifest["teacher"]), dict(manifest["settings"]))
            found = {name: manifest[name] for name in WRITTEN}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptShard(f"{file} is damaged ({error})", "delete the directory and label again") from error
        if found != WRITTEN:
            raise LabelMismatch(
                f"{file} says {found}, and this version of jointkd reads {WRITTEN}",
                "label again into another directory with label.path=…",
            )
        store.refresh()
        return store

    def check(self, expected: dict[str, Any]) -> None:
        """Raises LabelMismatch where teacher, dtype or choice of rows are not those that are expected."""
        found = {**self.teacher.fingerprint(), **self.settings}
        for name, value in expected.items():
            if found.get(name) != value:
                raise LabelMismatch(
                    f"the labels in {self.path} were made with {name}={found.get(name)}, not {value}",
                    "name another directory with label.path=…, or delete that one",
                )

    def refresh(self) -> None:
        """Take notice of shards that other processes have committed since."""
        for shard in sorted((self.path / "shards").glob("*.safetensors")):
            if shard not in self._keys_of:
                header = self._handle(shard).metadata()
                try:
                    keys, failed = json.loads(header["keys"]), json.loads(header["failed"])
                except (ValueError, KeyError, TypeError) as error:
                    raise damaged(shard, "its header is not one of labels") from error
                self._shard_of.update(dict.fromkeys(keys, shard))
                self._failed.update(failed)
                self._keys_of[shard] = [*keys, *failed]

    def __contains__(self, key: str) -> bool:
        return key in self._shard_of

    def __len__(self) -> int:
        return len(self._shard_of)

    @property
    def failed(self) -> dict[str, str]:
        """Structures that the teacher could not label, with the reason."""
        return self._failed

    def keys(self) -> set[str]:
        return set(self._shard_of)

    def shards(self) -> dict[Path, list[str]]:
        """The files of labels, each with the keys of its structures, failed ones too."""
        return dict(self._keys_of)

    @contextmanager
    def claim(self, chunk: str) -> Iterator[bool]:
        """Whether this process may label `chunk` now; a claim ends with the process, however that dies."""
        lock = FileLock(self.path / "claims" / f"{chunk}.lock", timeout=0)
        with storage_errors(self.path, "label.path"), suppress(Timeout):
            lock.acquire()
        try:
            yield lock.is_locked
        finally:
            lock.release()

    def append(self, labels: dict[str, TeacherLabels], failed: dict[str, str] | None = None) -> Path:
        """Commit labels as one shard. Raises StorageError where the disk refuses; nothing is left then."""
        tensors = {}
        for key, label in labels.items():
            tensors[f"{key}/energy"] = np.array([label.energy], dtype=np.float64)
            tensors[f"{key}/atomic_energies"] = label.atomic_energies
            tensors[f"{key}/forces"] = label.forces
            tensors[f"{key}/rows"] = label.hessian_rows
            tensors[f"{key}/row_ids"] = label.row_ids
            if label.spread is not None:
                tensors[f"{key}/spread/energy"] = np.array([label.spread.energy], dtype=np.float64)
                tensors[f"{key}/spread/atomic_energies"] = label.spread.atomic_energies
                tensors[f"{key}/spread/forces"] = label.spread.forces
        header = {"keys": json.dumps(list(labels)), "failed": json.dumps(failed or {})}
        content = save({name: np.ascontiguousarray(value) for name, value in tensors.items()}, header)
        shard = self.path / "shards" / f"{hashlib.sha256(content).hexdigest()[:NAME_LENGTH]}.safetensors"
        with storage_errors(self.path, "label.path"):
            write_whole(shard, content)
        self.refresh()
        return shard

    def read(self, key: str, rows: bool = True) -> TeacherLabels:
        """The labels of one structure; without `rows` its Hessian rows are not touched (K = 0)."""
        handle = self._handle(self._shard_of[key])
        hessian = handle.get_tensor(f"{key}/rows") if rows else np.zeros((0, 0, 3))
        return TeacherLabels(
            energy=float(handle.get_tensor(f"{key}/energy")[0]),
            atomic_energies=handle.get_tensor(f"{key}/atomic_energies"),
            forces=handle.get_tensor(f"{key}/forces"),
            hessian_rows=hessian,
            row_ids=handle.get_tensor(f"{key}/row_ids"),
            spread=self._spread(key) if self.teacher.members > 1 else None,
        )

    def _spread(self, key: str) -> Spread:
        handle = self._handle(self._shard_of[key])
        return Spread(
            energy=float(handle.get_tensor(f"{key}/spread/energy")[0]),
            atomic_energies=handle.get_tensor(f"{key}/spread/atomic_energies"),
            forces=handle.get_tensor(f"{key}/spread/forces"),
        )

    def row_count(self, key: str) -> int:
        """How many Hessian rows a structure has."""
        return int(self._handle(self._shard_of[key]).get_slice(f"{key}/row_ids").get_shape()[0])

    def read_rows(self, key: str, chosen: np.ndarray) -> np.ndarray:
        """[len(chosen), N, 3] eV/Å²: the chosen ones of a structure's K rows, without reading the others."""
        rows = self._handle(self._shard_of[key]).get_slice(f"{key}/rows")
        return np.stack([rows[int(k)] for k in chosen])

    def verify(self) -> None:
        """Recompute every shard's checksum. Raises CorruptShard that names the first bad one."""
        for shard in sorted(self._keys_of):
            if not has_its_checksum(shard):
                raise damaged(shard, CHANGED)

    def content_hash(self) -> str:
        """One hash of every label, whatever the shards they lie in."""
        digest = hashlib.sha256()
        for key in sorted(self._shard_of):
            label = self.read(key)
            digest.update(key.encode())
            digest.update(np.float64(label.energy).tobytes())
            for array in (label.atomic_energies, label.forces, label.hessian_rows, label.row_ids):
                digest.update(array.tobytes())
            if label.spread is not None:
                digest.update(np.float64(label.spread.energy).tobytes())
                digest.update(label.spread.atomic_energies.tobytes() + label.spread.forces.tobytes())
        return digest.hexdigest()

    def _handle(self, shard: Path) -> Any:
        if shard not in self._open:
            try:
                self._open[shard] = safe_open(shard, framework="numpy")
            except (SafetensorError, OSError) as error:
                raise damaged(shard, str(error)) from error
        return self._open[shard]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


def damaged(shard: Path, reason: str) -> CorruptShard:
    return CorruptShard(f"the labels in {shard} are damaged ({reason})", "delete that file and run the command again")

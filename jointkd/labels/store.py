"""The label store: a directory that any number of processes may write to at once, and that a crash cannot corrupt.

    manifest.json                    the teacher, its dtype, units and sign; written once, by the first process
    shards/<sha256>.safetensors      labels of some structures; immutable; the name is the checksum of the bytes
    claims/<chunk>.lock              locked by the process that labels that chunk, until the process ends

A shard is written under a temporary name and renamed when it is complete, so a file under its final name is complete.
For each structure it holds the tensors `<key>/energy`, `/atomic_energies`, `/forces`, `/rows` and `/row_ids`, and for
an ensemble `/spread/energy`, `/spread/atomic_energies` and `/spread/forces`. Single rows are read from the
memory-mapped file.
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
from jointkd.files.atomic import file_sha256, remove_leftovers, storage_errors, write_whole
from jointkd.labels.records import SIGN, UNITS, Spread, TeacherIdentity, TeacherLabels

WRITTEN = {"format": 1, "units": UNITS, "sign": SIGN}  # the only format that this version reads
NAME_LENGTH = 32  # hexadecimal digits of the checksum in a shard's name
CHANGED = "its checksum does not match its name"


def is_intact(shard: Path) -> bool:
    """Whether the checksum of a shard is the one in its name."""
    return file_sha256(shard)[:NAME_LENGTH] == shard.stem


class LabelStore:
    """The labels of one teacher, by the keys of structures. `create` opens a store for writing, `open` for reading."""

    def __init__(self, path: Path, teacher: TeacherIdentity, settings: dict[str, Any]) -> None:
        self.path = path
        self.teacher = teacher
        self.settings = settings
        self._shard_of: dict[str, Path] = {}
        self._failed: dict[str, str] = {}
        self._keys_of: dict[Path, list[str]] = {}  # labelled and failed structures of each shard
        self._open: dict[Path, Any] = {}

    @classmethod
    def create(cls, path: Path, teacher: TeacherIdentity, settings: dict[str, Any]) -> "LabelStore":
        """The store at `path`, which is created if it does not exist. settings: the choice of Hessian rows.

        Raises LabelMismatch if the store at `path` is of another teacher, dtype or choice of rows, StorageError.
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
        """The store at `path`. Raises LabelMismatch if there is none, CorruptShard if one of its files is damaged."""
        file = path / "manifest.json"
        if not file.exists():
            raise LabelMismatch(f"there are no labels in {path}", "make them with python -m jointkd.label …")
        try:
            manifest = json.loads(file.read_bytes())
            store = cls(path, TeacherIdentity.from_json(manifest["teacher"]), dict(manifest["settings"]))
            written = {name: manifest[name] for name in WRITTEN}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptShard(f"{file} is damaged ({error})", "delete the directory and label again") from error
        if written != WRITTEN:
            raise LabelMismatch(
                f"{file} has {written}, and this version of jointkd reads {WRITTEN}",
                "label again into another directory with label.path=…",
            )
        store.refresh()
        return store

    def check(self, expected: dict[str, Any]) -> None:
        """Raise LabelMismatch if the teacher, its dtype or the choice of rows is not the expected one."""
        actual = {**self.teacher.fingerprint(), **self.settings}
        for name, value in expected.items():
            if actual.get(name) != value:
                raise LabelMismatch(
                    f"the labels in {self.path} were made with {name}={actual.get(name)}, not {value}",
                    "name another directory with label.path=…, or delete that one",
                )

    def refresh(self) -> None:
        """Read the headers of shards that were committed since the store was opened or refreshed."""
        for shard in sorted((self.path / "shards").glob("*.safetensors")):
            if shard not in self._keys_of:
                header = self._handle(shard).metadata()
                try:
                    keys, failed = json.loads(header["keys"]), json.loads(header["failed"])
                except (ValueError, KeyError, TypeError) as error:
                    raise damaged(shard, "its header is not that of a label shard") from error
                self._shard_of.update(dict.fromkeys(keys, shard))
                self._failed.update(failed)
                self._keys_of[shard] = [*keys, *failed]

    def __contains__(self, key: str) -> bool:
        return key in self._shard_of

    def __len__(self) -> int:
        return len(self._shard_of)

    @property
    def failed(self) -> dict[str, str]:
        """The keys of structures that could not be labelled, each with the reason."""
        return self._failed

    def is_done(self, key: str) -> bool:
        """Whether a structure is labelled, or recorded as failed."""
        return key in self._shard_of or key in self._failed

    def keys(self) -> set[str]:
        """The keys of all labelled structures."""
        return set(self._shard_of)

    def shards(self) -> dict[Path, list[str]]:
        """The shards, each with the keys of its labelled and failed structures."""
        return dict(self._keys_of)

    @contextmanager
    def claim(self, chunk: str) -> Iterator[bool]:
        """Within the block, whether this process has claimed `chunk`. A claim ends at the latest with its process."""
        lock = FileLock(self.path / "claims" / f"{chunk}.lock", timeout=0)
        with storage_errors(self.path, "label.path"), suppress(Timeout):
            lock.acquire()
        try:
            yield lock.is_locked
        finally:
            lock.release()

    def append(self, labels: dict[str, TeacherLabels], failed: dict[str, str] | None = None) -> Path:
        """Commit labels, and the reasons of failed structures, as one shard.

        Raises StorageError if the shard cannot be written; no partial file remains.
        """
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
        """The labels of one structure; with rows=False without its Hessian rows (K = 0), which are not read."""
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
        """Number of Hessian rows of a structure."""
        return int(self._handle(self._shard_of[key]).get_slice(f"{key}/row_ids").get_shape()[0])

    def read_rows(self, key: str, chosen: np.ndarray) -> np.ndarray:
        """Some of the K Hessian rows of a structure, without reading the others. chosen [S] → [S, N, 3] eV/Å²."""
        rows = self._handle(self._shard_of[key]).get_slice(f"{key}/rows")
        return np.stack([rows[int(k)] for k in chosen])

    def verify(self) -> None:
        """Recompute the checksums of all shards. Raises CorruptShard, which names the first damaged one."""
        for shard in sorted(self._keys_of):
            if not is_intact(shard):
                raise damaged(shard, CHANGED)

    def content_hash(self) -> str:
        """One hash of all labels, whichever shards they are in."""
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
    """The error for a damaged shard."""
    return CorruptShard(f"the labels in {shard} are damaged ({reason})", "delete that file and run the command again")

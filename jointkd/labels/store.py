"""The label store: a directory that any number of processes may write to at once, and that a crash cannot corrupt.

    manifest.json                    the teacher, its dtype, units and sign; written once, by the first process
    shards/<sha256>.safetensors      labels of some structures; immutable; the name is the checksum of the bytes
    claims/<chunk>.lock              locked by the process that labels that chunk, until the process ends
    index.npz                        which shard holds which structures; a cache, see `index`

A shard is written under a temporary name and renamed when it is complete, so a file under its final name is complete.
For each structure it holds the tensors `<key>/energy`, `/atomic_energies`, `/forces`, `/rows` and `/row_ids`, and for
an ensemble `/spread/energy`, `/spread/atomic_energies` and `/spread/forces`. Single rows are read from the
memory-mapped file.
"""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jointkd.errors import CorruptShard, LabelMismatch, StorageError
from jointkd.files.atomic import file_sha256, remove_leftovers, storage_errors, write_whole
from jointkd.labels.index import ShardEntry, read_index, write_index
from jointkd.labels.records import SIGN, UNITS, Spread, TeacherIdentity, TeacherLabels

WRITTEN = {"format": 1, "units": UNITS, "sign": SIGN}  # the only format that this version reads
NAME_LENGTH = 32  # hexadecimal digits of the checksum in a shard's name
SUFFIX = ".safetensors"
OPEN_SHARDS = 512  # that are mapped at a time; systems allow 65,530
FEW_SHARDS = 64  # whose headers are read faster than an index is written
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
        self.read_only = False
        self._entries: dict[str, ShardEntry] = {}  # by the names of shards
        self._place: dict[str, tuple[str, int]] = {}  # shard of a structure, and its position there
        self._failed: dict[str, str] = {}
        self._unsaved = 0  # number of shards that the stored index lacks
        self._open: OrderedDict[str, Any] = OrderedDict()

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
    def open(cls, path: Path, read_only: bool = False) -> "LabelStore":
        """The store at `path`. Raises LabelMismatch if there is none, CorruptShard if one of its files is damaged.

        read_only: write nothing into the store, not even an index of what is there.
        """
        file = path / "manifest.json"
        if not file.exists():
            raise LabelMismatch(f"there are no labels in {path}", "make them with python -m jointkd.label …")
        try:
            manifest = json.loads(file.read_bytes())
            store = cls(path, TeacherIdentity.from_json(manifest["teacher"]), dict(manifest["settings"]))
            store.read_only = read_only
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
        store.refresh()
        store.save_index()
        return store

    def check(self, expected: dict[str, Any]) -> None:
        """Raise LabelMismatch if the teacher, its dtype or the choice of rows is not the expected one."""
        actual = {**self.teacher.fingerprint(), **self.settings}
        for name, value in expected.items():
            if actual.get(name) != value:
                raise LabelMismatch(
                    f"the labels in {self.path} were made with {name}={actual.get(name)}, not {value}",
                    "name another directory with label.path=…",
                )

    def refresh(self) -> list[str]:
        """Read the headers of shards that were committed since the store was opened or refreshed.

        Returns the keys of the structures that they add, labelled or failed.
        """
        if not self._entries:
            self._read_index()
        names = {entry.name for entry in os.scandir(self.path / "shards") if entry.name.endswith(SUFFIX)}
        return [key for name in sorted(names - self._entries.keys()) for key in self._add(name)]

    def _read_index(self) -> None:
        """Take from the stored index what it says of shards that have not changed since."""
        stored = read_index(self.path)
        if not stored:
            return
        for file in os.scandir(self.path / "shards"):
            entry = stored.get(file.name)
            if entry is not None and is_unchanged(entry, file.stat()):
                self._take(file.name, entry)

    def _add(self, name: str) -> list[str]:
        """Read the header of a shard; the keys of its structures."""
        shard = self.path / "shards" / name
        handle = self._handle(name)
        try:
            header = handle.metadata()
            keys, failed = json.loads(header["keys"]), json.loads(header["failed"])
            rows = np.array([handle.get_slice(f"{key}/row_ids").get_shape()[0] for key in keys], dtype=np.int32)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise damaged(shard, "its header is not that of a label shard") from error
        found = shard.stat()
        self._take(name, ShardEntry(found.st_size, found.st_mtime_ns, keys, rows, failed))
        self._unsaved += 1
        return [*keys, *failed]

    def _take(self, name: str, entry: ShardEntry) -> None:
        self._entries[name] = entry
        self._place.update((key, (name, position)) for position, key in enumerate(entry.keys))
        self._failed.update(entry.failed)

    def save_index(self) -> None:
        """Write the index if it lacks so many shards that reading them again would take long."""
        if not self.read_only and self._unsaved > max(FEW_SHARDS, len(self._entries) // 100):
            write_index(self.path, self._entries)
            self._unsaved = 0

    def __contains__(self, key: str) -> bool:
        return key in self._place

    def __len__(self) -> int:
        return len(self._place)

    @property
    def failed(self) -> dict[str, str]:
        """The keys of structures that could not be labelled, each with the reason."""
        return self._failed

    def is_done(self, key: str) -> bool:
        """Whether a structure is labelled, or recorded as failed."""
        return key in self._place or key in self._failed

    def keys(self) -> set[str]:
        """The keys of all labelled structures."""
        return set(self._place)

    def shards(self) -> dict[Path, list[str]]:
        """The shards, each with the keys of its labelled and failed structures."""
        return {self.path / "shards" / name: [*entry.keys, *entry.failed] for name, entry in self._entries.items()}

    @contextmanager
    def claim(self, chunk: str) -> Iterator[bool]:
        """Within the block, whether this process has claimed `chunk`. A claim ends at the latest with its process."""
        lock = FileLock(self._claim_file(chunk), timeout=0)
        with storage_errors(self.path, "label.path"), suppress(Timeout):
            lock.acquire()
        try:
            yield lock.is_locked
        finally:
            lock.release()

    def was_claimed(self, chunk: str) -> bool:
        """Whether any process has ever claimed `chunk`; otherwise none has labelled it."""
        return self._claim_file(chunk).exists()

    def _claim_file(self, chunk: str) -> Path:
        return self.path / "claims" / f"{chunk}.lock"

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
        self._add(shard.name)
        return shard

    def read(self, key: str, rows: bool = True) -> TeacherLabels:
        """The labels of one structure; with rows=False without its Hessian rows (K = 0), which are not read."""
        handle = self._handle(self._place[key][0])
        hessian = handle.get_tensor(f"{key}/rows") if rows else np.zeros((0, 0, 3))
        return TeacherLabels(
            energy=float(handle.get_tensor(f"{key}/energy")[0]),
            atomic_energies=handle.get_tensor(f"{key}/atomic_energies"),
            forces=handle.get_tensor(f"{key}/forces"),
            hessian_rows=hessian,
            row_ids=handle.get_tensor(f"{key}/row_ids"),
            spread=self._spread(key) if self.teacher.members > 1 else None,
        )

    def energies(self, key: str) -> tuple[float, np.ndarray]:
        """The energy (eV) and the atomic energies [N] (eV) of a structure."""
        handle = self._handle(self._place[key][0])
        return float(handle.get_tensor(f"{key}/energy")[0]), handle.get_tensor(f"{key}/atomic_energies")

    def _spread(self, key: str) -> Spread:
        handle = self._handle(self._place[key][0])
        return Spread(
            energy=float(handle.get_tensor(f"{key}/spread/energy")[0]),
            atomic_energies=handle.get_tensor(f"{key}/spread/atomic_energies"),
            forces=handle.get_tensor(f"{key}/spread/forces"),
        )

    def row_count(self, key: str) -> int:
        """Number of Hessian rows of a structure."""
        name, position = self._place[key]
        return int(self._entries[name].rows[position])

    def read_rows(self, key: str, chosen: np.ndarray) -> np.ndarray:
        """Some of the K Hessian rows of a structure, without reading the others. chosen [S] → [S, N, 3] eV/Å²."""
        rows = self._handle(self._place[key][0]).get_slice(f"{key}/rows")
        return np.stack([rows[int(k)] for k in chosen])

    def verify(self) -> None:
        """Recompute the checksums of shards that have not been verified since they changed.

        Raises CorruptShard, which names the first damaged one.
        """
        verified = 0
        for name in sorted(self._entries):
            entry, shard = self._entries[name], self.path / "shards" / name
            if entry.verified and is_unchanged(entry, shard.stat()):
                continue
            if not is_intact(shard):
                raise damaged(shard, CHANGED)
            entry.verified = True
            verified += 1
        if not self.read_only and verified > FEW_SHARDS:
            write_index(self.path, self._entries)

    def content_hash(self) -> str:
        """One hash of all labels, whichever shards they are in."""
        digest = hashlib.sha256()
        for key in sorted(self._place):
            label = self.read(key)
            digest.update(key.encode())
            digest.update(np.float64(label.energy).tobytes())
            for array in (label.atomic_energies, label.forces, label.hessian_rows, label.row_ids):
                digest.update(array.tobytes())
            if label.spread is not None:
                digest.update(np.float64(label.spread.energy).tobytes())
                digest.update(label.spread.atomic_energies.tobytes() + label.spread.forces.tobytes())
        return digest.hexdigest()

    def _handle(self, name: str) -> Any:
        """A shard, mapped into memory. A process can map only so many, so those not used for longest are closed."""
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        shard = self.path / "shards" / name
        try:
            handle = safe_open(shard, framework="numpy")
        except SafetensorError as error:
            raise damaged(shard, str(error)) from error
        except OSError as error:
            raise unreadable(shard, error) from error
        self._open[name] = handle
        if len(self._open) > OPEN_SHARDS:
            self._open.popitem(last=False)
        return handle

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}


def is_unchanged(entry: ShardEntry, found: os.stat_result) -> bool:
    """Whether a shard still has the size and the time of change at which it was read."""
    return (entry.size, entry.changed) == (found.st_size, found.st_mtime_ns)


def damaged(shard: Path, reason: str) -> CorruptShard:
    """The error for a damaged shard."""
    return CorruptShard(
        f"the labels in {shard} are damaged ({reason})",
        "set them aside with label.verify=true, then run the command again to make them anew",
    )


def unreadable(shard: Path, error: OSError) -> StorageError:
    """The error for a shard that the operating system does not let us read; it may well be whole."""
    return StorageError(
        f"the labels in {shard} cannot be read ({error.strerror or error})", "see to its permissions, or to the disk"
    )

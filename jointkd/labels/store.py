"""The label store: a directory that any number of processes may write to at once, and that a crash cannot corrupt.

    manifest.json                    the teacher, its dtype, units and sign; written once, by the first process
    shards/<sha256>.safetensors      labels of some structures; immutable; the name is the checksum of the bytes
    claims/<chunk>.lock              locked by the process that labels that chunk, until the process ends
    index.npz                        which shard holds which structures; a cache, see `index`

A shard is written under a temporary name and renamed when it is complete, so a file under its final name is complete.
For each structure it holds the tensors `<key>/energy`, `/atomic_energies`, `/forces`, `/rows` and `/row_ids` (or
`/probes`, with which `/rows` are products), and for an ensemble `/spread/energy`, `/spread/atomic_energies` and
`/spread/forces`. Single rows are read from the memory-mapped file.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from safetensors.numpy import save

from jointkd.files.atomic import remove_leftovers, storage_errors, write_whole
from jointkd.labels.directions import are_probes
from jointkd.labels.index import ShardEntry, read_index, write_index
from jointkd.labels.manifest import FILE as MANIFEST
from jointkd.labels.manifest import Manifest
from jointkd.labels.records import Spread, TeacherIdentity, TeacherLabels
from jointkd.labels.shards import CHANGED, SUFFIX, Shards, damaged, is_intact, is_unchanged, shard_name

FEW_SHARDS = 64  # whose headers are read faster than an index is written


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
        self._shards = Shards(path / "shards")

    @classmethod
    def create(cls, path: Path, teacher: TeacherIdentity, settings: dict[str, Any]) -> "LabelStore":
        """The store at `path`, which is created if it does not exist. settings: the choice of Hessian rows.

        Raises LabelMismatch if the store at `path` is of another teacher, dtype or choice of rows, StorageError.
        """
        with storage_errors(path, "label.path"):
            for folder in ("shards", "claims"):
                (path / folder).mkdir(parents=True, exist_ok=True)
            with FileLock(path / "claims" / "manifest.lock"):
                if not (path / MANIFEST).exists():
                    write_whole(path / MANIFEST, Manifest(teacher, settings).content())
            remove_leftovers(path / "shards")
        store = cls.open(path)
        store.check({**teacher.fingerprint(), **settings})
        return store

    @classmethod
    def open(cls, path: Path, read_only: bool = False) -> "LabelStore":
        """The store at `path`. Raises LabelMismatch if there is none, CorruptShard if one of its files is damaged.

        read_only: write nothing into the store, not even an index of what is there.
        """
        manifest = Manifest.read(path)
        store = cls(path, manifest.teacher, manifest.settings)
        store.read_only = read_only
        store.refresh()
        store.save_index()
        return store

    def check(self, expected: dict[str, Any]) -> None:
        """Raise LabelMismatch if the teacher, its dtype or the choice of rows is not the expected one."""
        Manifest(self.teacher, self.settings).check(expected, self.path)

    def refresh(self) -> list[str]:
        """Read the headers of shards that were committed since the store was opened or refreshed.

        Returns the keys of the structures that they add, labelled or failed.
        """
        if not self._entries:
            self._read_index()
        names = {entry.name for entry in os.scandir(self._shards.folder) if entry.name.endswith(SUFFIX)}
        return [key for name in sorted(names - self._entries.keys()) for key in self._add(name)]

    def _read_index(self) -> None:
        """Take from the stored index what it says of shards that have not changed since."""
        stored = read_index(self.path)
        if not stored:
            return
        for file in os.scandir(self._shards.folder):
            entry = stored.get(file.name)
            if entry is not None and is_unchanged(entry, file.stat()):
                self._take(file.name, entry)

    def _add(self, name: str) -> list[str]:
        """Read the header of a shard; the keys of its structures."""
        entry = self._shards.entry(name)
        self._take(name, entry)
        self._unsaved += 1
        return [*entry.keys, *entry.failed]

    def _take(self, name: str, entry: ShardEntry) -> None:
        self._entries[name] = entry
        self._place.update((key, (name, position)) for position, key in enumerate(entry.keys))
        for key in entry.keys:  # it may have failed before it was tried again
            self._failed.pop(key, None)
        self._failed.update((key, reason) for key, reason in entry.failed.items() if key not in self._place)

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

    def forget(self, reason: str) -> None:
        """Take the structures that failed for a reason for not yet labelled, until the store is opened again."""
        for key in [key for key, known in self._failed.items() if known == reason]:
            del self._failed[key]

    def is_done(self, key: str) -> bool:
        """Whether a structure is labelled, or recorded as failed."""
        return key in self._place or key in self._failed

    def keys(self) -> set[str]:
        """The keys of all labelled structures."""
        return set(self._place)

    def shards(self) -> dict[Path, list[str]]:
        """The shards, each with the keys of its labelled and failed structures."""
        return {self._shards.folder / name: [*entry.keys, *entry.failed] for name, entry in self._entries.items()}

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
            tensors[f"{key}/{'probes' if are_probes(label.directions) else 'row_ids'}"] = label.directions
            if label.spread is not None:
                tensors[f"{key}/spread/energy"] = np.array([label.spread.energy], dtype=np.float64)
                tensors[f"{key}/spread/atomic_energies"] = label.spread.atomic_energies
                tensors[f"{key}/spread/forces"] = label.spread.forces
        header = {"keys": json.dumps(list(labels)), "failed": json.dumps(failed or {})}
        content = save({name: np.ascontiguousarray(value) for name, value in tensors.items()}, header)
        shard = self._shards.folder / shard_name(content)
        with storage_errors(self.path, "label.path"):
            write_whole(shard, content)
        self._add(shard.name)
        return shard

    def read(self, key: str, rows: bool = True) -> TeacherLabels:
        """The labels of one structure; with rows=False without its Hessian rows ([0, 0, 3]), which are not read."""
        handle = self._shards[self._place[key][0]]
        hessian = handle.get_tensor(f"{key}/rows") if rows else np.zeros((0, 0, 3))
        return TeacherLabels(
            energy=float(handle.get_tensor(f"{key}/energy")[0]),
            atomic_energies=handle.get_tensor(f"{key}/atomic_energies"),
            forces=handle.get_tensor(f"{key}/forces"),
            hessian_rows=hessian,
            directions=handle.get_tensor(f"{key}/{'probes' if self.probe_count(key) else 'row_ids'}"),
            spread=self._spread(key) if self.teacher.members > 1 else None,
        )

    def energies(self, key: str) -> tuple[float, np.ndarray]:
        """The energy (eV) and the atomic energies [N] (eV) of a structure."""
        handle = self._shards[self._place[key][0]]
        return float(handle.get_tensor(f"{key}/energy")[0]), handle.get_tensor(f"{key}/atomic_energies")

    def _spread(self, key: str) -> Spread:
        handle = self._shards[self._place[key][0]]
        return Spread(
            energy=float(handle.get_tensor(f"{key}/spread/energy")[0]),
            atomic_energies=handle.get_tensor(f"{key}/spread/atomic_energies"),
            forces=handle.get_tensor(f"{key}/spread/forces"),
        )

    def row_count(self, key: str) -> int:
        """Number of Hessian rows of a structure."""
        name, position = self._place[key]
        return int(self._entries[name].rows[position])

    def probe_count(self, key: str) -> int:
        """Number of probes of a structure, which then has no rows."""
        name, position = self._place[key]
        return int(self._entries[name].probes[position])

    def direction_count(self, key: str) -> int:
        """Number of rows or probes of a structure."""
        return self.row_count(key) + self.probe_count(key)

    def read_rows(self, key: str, chosen: np.ndarray) -> np.ndarray:
        """Some of the K Hessian rows (or products) of a structure, without reading the others.

        chosen [S] → [S, N, 3] eV/Å².
        """
        rows = self._shards[self._place[key][0]].get_slice(f"{key}/rows")
        return np.stack([rows[int(k)] for k in chosen])

    def verify(self) -> None:
        """Recompute the checksums of shards that have not been verified since they changed.

        Raises CorruptShard, which names the first damaged one.
        """
        verified = 0
        for name in sorted(self._entries):
            entry, shard = self._entries[name], self._shards.folder / name
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
            for array in (label.atomic_energies, label.forces, label.hessian_rows, label.directions):
                digest.update(array.tobytes())
            if label.spread is not None:
                digest.update(np.float64(label.spread.energy).tobytes())
                digest.update(label.spread.atomic_energies.tobytes() + label.spread.forces.tobytes())
        return digest.hexdigest()

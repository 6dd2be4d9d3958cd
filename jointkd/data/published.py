"""Published data sets: the location of their files, their download, and the reader of each format."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jointkd.data.options import DataOptions
from jointkd.data.provenance import Reader, SubsetRule
from jointkd.data.readers import amin2025, mace_off, mptrj, spice
from jointkd.data.splits import Split
from jointkd.errors import ConfigError, DataError
from jointkd.files.downloads import fetch
from jointkd.structures.frame import Frame

log = logging.getLogger(__name__)

READERS: dict[str, Any] = {"mace_off": mace_off.read, "spice": spice.read, "mptrj": mptrj.read}
AMIN = "amin2025"

Files = Mapping[str, Mapping[str, str | None]]  # name, url and sha256 of each file, by the reader's argument


def read(
    format: str, files: Files, source: str | None, downloads: str, doi: str, energy: str | None
) -> tuple[Iterable[Frame], dict[int, float]]:
    """Frames and free-atom energies of a published set, downloaded if necessary. Raises DataError, ConfigError."""
    paths = locate(files, source, Path(downloads).expanduser(), f"doi:{doi}")
    return READERS[format](**paths, **({} if energy is None else {"energy": energy}))


def locate(files: Files, source: str | None, downloads: Path, origin: str) -> dict[str, Path]:
    """The local path of each file, by the reader's argument; files are downloaded if necessary.

    source: a directory that contains the files, a single file in place of the first one, the URL of a mirror's
    directory, or None for the publisher. Raises DataError for files that are missing or cannot be downloaded.
    """
    if source is None or "://" in source:
        paths = {}
        for role, file in files.items():
            name, url = str(file["name"]), file["url"] if source is None else f"{source.rstrip('/')}/{file['name']}"
            paths[role] = fetch(str(url), downloads / name, file.get("sha256"), origin)
        return paths
    local = Path(source).expanduser()
    if local.is_file():
        return {next(iter(files)): local}
    return {role: in_directory(local, str(file["name"]), origin) for role, file in files.items()}


def in_directory(directory: Path, name: str, origin: str) -> Path:
    """The path of a published file in a directory, packed or unpacked. Raises DataError if it is missing."""
    for path in (directory / name, directory / f"{name.split('.')[0]}.xyz"):
        if path.is_file():
            return path
    raise DataError(f"data.source={directory} has no {name}", f"get it from {origin} and put it there")


@dataclass(frozen=True, kw_only=True)
class PublishedData(DataOptions):
    """A published set, or a subset of it; see `locate` for `files`, `source` and `downloads`.

    With `split=amin2025` the structures and their splits are read from the prior art's record of this subset instead of
    the files. Raises ConfigError.
    """

    format: str  # one of READERS
    files: Files
    source: str | None
    downloads: str
    doi: str
    licence: str
    amin2025: str | None  # the folder of this subset in the prior art's record
    energy: str | None = None  # which energy to read, for readers of files with several

    def __post_init__(self) -> None:
        if isinstance(self.split, str) and not self._as_amin2025:
            raise ConfigError(
                f"data.split={self.split} is not known", f"give {AMIN} (for the paper's subsets), or data.split.by"
            )
        super().__post_init__()
        doi, licence = (amin2025.DOI, "as its record says") if self._as_amin2025 else (self.doi, self.licence)
        log.info("data %s: doi:%s, licence %s", self.name, doi, licence)

    @property
    def _as_amin2025(self) -> bool:
        return self.split == AMIN and self.amin2025 is not None

    @property
    def division(self) -> Split:
        return Split(by="file") if self._as_amin2025 else super().division

    @property
    def rules(self) -> SubsetRule | None:
        return None if self._as_amin2025 else super().rules

    def reader(self) -> Reader:
        if self._as_amin2025:
            return partial(amin2025.read, self.source, str(self.amin2025), self.energy or "spice")
        return partial(read, self.format, self.files, self.source, self.downloads, self.doi, self.energy)

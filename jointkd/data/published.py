"""Data sets that others publish: where their files are, how they come here, and which reader knows them."""

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

Files = Mapping[str, Mapping[str, str | None]]  # by the reader's argument: name, url, sha256


def read(
    format: str, files: Files, source: str | None, downloads: str, doi: str, energy: str | None
) -> tuple[Iterable[Frame], dict[int, float]]:
    """Frames and free-atom energies of a published set, downloaded if need be. Raises DataError, ConfigError."""
    paths = locate(files, source, Path(downloads).expanduser(), f"doi:{doi}")
    return READERS[format](**paths, **({} if energy is None else {"energy": energy}))


def locate(files: Files, source: str | None, downloads: Path, origin: str) -> dict[str, Path]:
    """Where the files are, by the same names.

    source: a directory that has them, a file that takes the place of the first, the URL of a mirror's directory, or
    None for the publisher. Raises DataError where they cannot be had.
    """
    if source is None or "://" in source:
        found = {}
        for role, file in files.items():
            name, url = str(file["name"]), file["url"] if source is None else f"{source.rstrip('/')}/{file['name']}"
            found[role] = fetch(str(url), downloads / name, file.get("sha256"), origin)
        return found
    local = Path(source).expanduser()
    if local.is_file():
        return {next(iter(files)): local}
    return {role: in_directory(local, str(file["name"]), origin) for role, file in files.items()}


def in_directory(directory: Path, name: str, origin: str) -> Path:
    """A published file in a directory, under its name or unpacked. Raises DataError."""
    for path in (directory / name, directory / f"{name.split('.')[0]}.xyz"):
        if path.is_file():
            return path
    raise DataError(f"data.source={directory} has no {name}", f"get it from {origin} and put it there")


@dataclass(frozen=True, kw_only=True)
class PublishedData(DataOptions):
    """A set that others publish, or a subset of it; see `locate` for `files`, `source` and `downloads`.

    With `split=amin2025` the prior art's record of this subset, which says who is in which split, takes the place of
    the files. Raises ConfigError.
    """

    format: str  # one of READERS
    files: Files
    source: str | None
    downloads: str
    doi: str
    licence: str
    amin2025: str | None  # the folder of this subset in the prior art's record
    energy: str | None = None  # for the reader, where it knows several

    def __post_init__(self) -> None:
        if isinstance(self.split, str) and not self._as_amin2025:
            raise ConfigError(
                f"data.split={self.split} is not known", f"give {AMIN} (of the paper's subsets), or data.split.by"
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

"""Data sets that others publish: where their files are, how they come here, and which reader knows them."""

import logging
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jointkd.data.datamodule import DistillationData, of_module
from jointkd.data.readers import amin2025 as amin2025_records
from jointkd.data.readers import mace_off, mptrj, spice
from jointkd.data.splits import Split
from jointkd.data.subsets import Subset
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
    paths = located(files, source, Path(downloads).expanduser(), f"doi:{doi}")
    return READERS[format](**paths, **({} if energy is None else {"energy": energy}))


def located(files: Files, source: str | None, downloads: Path, origin: str) -> dict[str, Path]:
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


@of_module
def from_publisher(
    name: str,
    format: str,
    files: Files,
    source: str | None,
    downloads: str,
    doi: str,
    licence: str,
    amin2025: str | None,
    subset: Subset,
    split: Split | str,
    energy: str | None = None,
    **options: Any,
) -> DistillationData:
    """The data module of a published set or a subset of it; see `located` and `DistillationData`.

    format: one of READERS; energy: for the reader, where it knows several; doi and licence of the set;
    amin2025: the folder of this subset in the prior art's record, which `split=amin2025` reads in place of `files`.
    """
    reader: Any = partial(read, format, files, source, downloads, doi, energy)
    rules: Subset | None = subset
    if isinstance(split, str):
        if split != AMIN or amin2025 is None:
            raise ConfigError(
                f"data.split={split} is not known", f"give {AMIN} (of the paper's subsets), or data.split.by"
            )
        reader = partial(amin2025_records.read, source, amin2025, energy or "spice")
        doi, licence, rules, split = amin2025_records.DOI, "as its record says", None, Split(by="file")
    log.info("data %s: doi:%s, licence %s", name, doi, licence)
    return DistillationData(name, reader, split, subset=rules, **options)

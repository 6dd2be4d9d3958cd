"""The files that `data.path` stands for, which are read and whose changes are noticed."""

import logging
import os
from glob import glob
from pathlib import Path

from ase.io.formats import UnknownFileTypeError, ioformats

from jointkd.data.readers.formats import DATABASES, HDF5, format_of
from jointkd.errors import DataError

log = logging.getLogger(__name__)

VASP_OUTPUTS = ("vasprun.xml", "OUTCAR")  # of one calculation, in order of preference
VASP_OTHERS = {"POSCAR", "CONTCAR", "XDATCAR", "CHGCAR", "CHG", "LOCPOT", "INCAR", "KPOINTS", "POTCAR", "OSZICAR"}


def candidates(path: str) -> list[Path]:
    """The file that `path` names, all files of a folder and its subfolders, or those that match a pattern with `*`.

    A path that exists is taken as it is written, whatever characters it has. Hidden files of folders, and what is no
    regular file, are left out. Raises DataError for a folder that cannot be read.
    """
    start = Path(path).expanduser()
    if start.is_dir():
        return folder_files(start)
    matches = [start] if start.exists() else [Path(name) for name in sorted(glob(str(start), recursive=True))]
    return [file for file in matches if file.is_file()]


def folder_files(folder: Path) -> list[Path]:
    """The files in a folder and its subfolders. Raises DataError for one that cannot be read."""

    def refuse(error: OSError) -> None:
        raise DataError(
            f"the folder {error.filename} cannot be read ({error.strerror})", "check its permissions, or move it away"
        ) from error

    everything = (Path(parent) / name for parent, _, names in os.walk(folder, onerror=refuse) for name in names)
    return sorted(file for file in everything if file.is_file() and not file.name.startswith("."))


def files(path: str, format: str | None, option: str = "data.path") -> list[tuple[Path, str]]:
    """The files of `candidates` that ASE reads, each with a name for messages, which name the `option` of the path.

    For a VASP calculation only vasprun.xml is read, or OUTCAR if there is none. Raises DataError if there are no such
    files, and for the working directory and its parents, because they contain the outputs of jointkd.
    """
    start = Path(path).expanduser()
    if start.is_file():
        return [(start, start.name)]
    if not start.is_dir():
        if not (matches := candidates(path)):
            problem = "is neither a file nor a folder" if start.exists() else "does not exist"
            raise DataError(
                f"{option}={path} {problem}", "check the path (a relative path starts at the working directory)"
            )
        return [(file, str(file)) for file in matches]
    if Path.cwd().is_relative_to(start.resolve()):
        raise DataError(
            f"{option}={path} must not contain the working directory, whose outputs would be read as structures",
            f"give a folder that contains structures only, or a pattern such as '{option}=*.xyz'",
        )
    everything = candidates(path)
    selected = [file for file in everything if not superseded(file) and (format or readable(file))]
    if not selected:
        raise DataError(
            f"{option}={path} is a folder of {len(everything)} files, none of which ASE can read",
            "set data.format to the format of the files",
        )
    left_out = [file.name for file in everything if file not in set(selected)]
    if left_out:
        names = ", ".join(sorted(set(left_out))[:5])
        log.warning("%s=%s: left out %d files without readable structures (%s)", option, path, len(left_out), names)
    return [(file, str(file.relative_to(start))) for file in selected]


def superseded(file: Path) -> bool:
    """Whether another file of the same VASP calculation contains more information."""
    better = VASP_OUTPUTS[: VASP_OUTPUTS.index(file.name)] if file.name in VASP_OUTPUTS else VASP_OUTPUTS
    return file.name in {*VASP_OUTPUTS, *VASP_OTHERS} and any((file.parent / name).exists() for name in better)


def readable(file: Path) -> bool:
    """Whether ASE has a reader for the file, judged by its name and its first bytes."""
    if file.suffix in (*DATABASES, *HDF5):
        return True
    try:
        known = ioformats.get(format_of(file))  # ASE may guess a format that it cannot read
    except (UnknownFileTypeError, OSError, UnicodeDecodeError):
        return False
    return known is not None and bool(known.can_read)

"""Exported students: one file with a compiled library or a graph, and a description that is read without running it."""

import json
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from jointkd.deploy.kernels import inside, load_kernels
from jointkd.deploy.pair_form import PairForm
from jointkd.errors import ConfigError, DataError
from jointkd.runtime import device_of
from jointkd.students.student_file import SavedStudent, by_number, check_format
from jointkd.trust import Consent, require_consent

FORMAT = 2  # 1: without `force_uncertainty`
ENTRY = "extra/jointkd.json"  # of the archive, below its one folder
AGAIN = "export it again here with python -m jointkd.export, or use the student's file, which runs everywhere"


@dataclass(frozen=True)
class Description:
    """What a package says about itself."""

    form: str  # aoti: a compiled library; kernels: compiled kernels; exported: a graph of torch.export
    torch: str  # the version by which it was made, and which alone loads it
    device: str  # cpu or cuda
    processor: str  # its kind, of which the library uses the instructions
    dtype: str  # float32 or float64
    cutoff: float  # Å
    max_neighbors: int | None
    hops: int  # of messages: an atom's energy depends on atoms as far as so many cutoffs
    conservative: bool
    elements: int  # the highest atomic number that it knows
    student: dict[str, Any]  # `_target_` and the arguments of its constructor
    student_sha256: str  # of the student's file
    reference_energies: dict[int, float]  # eV by atomic number
    undetermined: list[dict[int, float]]  # see `SavedStudent`
    origin: dict[str, Any]
    force_uncertainty: bool  # whether it says how uncertain the force on each atom is
    jointkd_format: int = FORMAT

    @property
    def saved(self) -> SavedStudent:
        """The contents of the student's file except the weights."""
        return SavedStudent(self.student, {}, self.reference_energies, self.origin, tuple(self.undetermined))


class Package(NamedTuple):
    """A package that was loaded, and its description."""

    form: PairForm
    description: Description


def is_package(path: Path) -> bool:
    """Whether a file is a package, judged without running anything of it."""
    return path.is_file() and zipfile.is_zipfile(path) and _entry(path) is not None


def read_description(path: Path) -> Description:
    """The description in a package. Raises DataError."""
    try:
        with zipfile.ZipFile(path) as archive:
            values = json.loads(archive.read(_entry(path) or ENTRY))
        check_format(path, values.setdefault("jointkd_format", 1), FORMAT)
        if values["jointkd_format"] == 1:
            values["force_uncertainty"] = False
        values["reference_energies"] = by_number(values["reference_energies"])
        values["undetermined"] = [by_number(direction) for direction in values["undetermined"]]
        return Description(**{field.name: values[field.name] for field in fields(Description)})
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a package of a student ({type(error).__name__}: {error})", AGAIN) from error


def load_package(path: Path, device: str | None, dtype: str | None, trust: Consent) -> Package:
    """Load a package; its code then runs. device, dtype: None for those of the package.

    Raises DataError without consent, or if it was made by another torch or for another processor, and ConfigError for
    a device or a precision that is not the package's.
    """
    require_consent(trust, path)
    description = read_description(path)
    for name, wanted in {"device": device and torch.device(device_of(device)).type, "dtype": dtype}.items():
        own = getattr(description, name)
        if wanted not in (None, own):
            raise ConfigError(f"{name}={wanted}, but {path} was exported with {name}={own}", f"set {name}={own}")
    device_of(description.device)
    for made, here in ((description.torch, torch.__version__), (description.processor, processor(description.device))):
        if made != here:
            raise DataError(f"{path} was exported with {made}, but this is {here}", AGAIN)
    if description.form == "aoti":
        return Package(torch._inductor.aoti_load_package(str(path)), description)
    if description.form == "kernels":
        return Package(load_kernels(path), description)
    return Package(cast(PairForm, torch.export.load(path).module()), description)


def describe(archive: Path, description: Description) -> None:
    """Add its description to a package that torch has written."""
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(inside(file, ENTRY), json.dumps(asdict(description)))


def processor(device: str) -> str:
    """The kind of processor of a device, as far as compiled code depends on it."""
    return torch.cuda.get_device_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability()


def _entry(path: Path) -> str | None:
    """The name of the description in an archive."""
    with zipfile.ZipFile(path) as archive:
        names: Iterable[str] = archive.namelist()
    return next((name for name in names if name.partition("/")[2] == ENTRY), None)

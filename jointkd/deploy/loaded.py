"""A student loaded from a file, with its interfaces to simulation programs."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jointkd.deploy.ase import JointKD
from jointkd.students.student_file import SavedStudent, locate_student, read_student
from jointkd.trust import trusted_names


@dataclass(frozen=True)
class LoadedStudent:
    """A student's file, and its contents except the weights."""

    path: Path
    options: dict[str, Any]  # `_target_` and the arguments of its constructor
    reference_energies: dict[int, float]  # eV by atomic number, to which predictions are relative
    origin: dict[str, Any]  # provenance of the weights
    trust: frozenset[str] = frozenset()  # import paths of classes that the file may name beside those of jointkd

    def ase(self, device: str | None = None, dtype: str = "float32") -> JointKD:
        """The student as an ASE calculator; see `JointKD`."""
        return JointKD(self.path, device, dtype, self.trust)


def load(path: str | Path, trust: str | Iterable[str] = ()) -> LoadedStudent:
    """The student of a file or of a finished run's folder. Raises DataError for other files.

    trust: import paths of students of your own that the file may name, as `["my_module.MyStudent"]`; their code runs.
    """
    saved: SavedStudent = read_student(Path(path))
    location = locate_student(Path(path))
    return LoadedStudent(location, saved.config, saved.reference_energies, saved.origin, trusted_names(trust))

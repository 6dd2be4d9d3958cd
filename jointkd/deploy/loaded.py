"""A student from a file, ready to be used in a program that runs dynamics."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jointkd.deploy.ase import JointKD
from jointkd.students.student_file import SavedStudent, locate_student, read_student


@dataclass(frozen=True)
class LoadedStudent:
    """A student's file, and what it says of the student."""

    path: Path
    options: dict[str, Any]  # `_target_` and the arguments of its constructor
    reference_energies: dict[int, float]  # eV by atomic number, which predictions are relative to
    origin: dict[str, Any]  # where the weights are from

    def ase(self, device: str | None = None, dtype: str = "float32") -> JointKD:
        """The student as an ASE calculator; see `JointKD`."""
        return JointKD(self.path, device, dtype)


def load(path: str | Path) -> LoadedStudent:
    """The student of a file, or of a finished run's folder. Raises DataError for a file that is not a student's."""
    saved: SavedStudent = read_student(Path(path))
    return LoadedStudent(locate_student(Path(path)), saved.config, saved.reference_energies, saved.origin)

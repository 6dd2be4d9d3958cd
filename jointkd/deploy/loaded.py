"""Students loaded from files, with their interfaces to simulation programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from jointkd.deploy.ase import JointKD
from jointkd.deploy.committee import Committee
from jointkd.deploy.package import is_package, read_description
from jointkd.students.student_file import locate_student, read_student
from jointkd.trust import Consent, trusted_names

if TYPE_CHECKING:
    from jointkd.deploy.torchsim import TorchSimModel


@dataclass(frozen=True)
class LoadedStudent:
    """A student's file or package, and its contents except the weights."""

    path: Path
    options: dict[str, Any]  # `_target_` and the arguments of its constructor
    reference_energies: dict[int, float]  # eV by atomic number, to which predictions are relative
    origin: dict[str, Any]  # provenance of the weights
    trust: frozenset[str] | bool = frozenset()  # import paths that the file may name beside jointkd's; True: its code

    def ase(self, device: str | None = None, dtype: str | None = None) -> JointKD:
        """The student as an ASE calculator; see `JointKD`."""
        return JointKD(self.path, device, dtype, self.trust)

    def torch_sim(self, device: str | None = None, dtype: str | None = None) -> "TorchSimModel":
        """The student as a model of torch-sim; see `TorchSimModel`. Raises MissingExtra where torch-sim is not here."""
        from jointkd.deploy.torchsim import TorchSimModel

        return TorchSimModel(self.path, device, dtype, self.trust)


@dataclass(frozen=True)
class LoadedCommittee:
    """Several students that are asked together."""

    students: tuple[LoadedStudent, ...]
    trust: frozenset[str] | bool = frozenset()

    def ase(self, device: str | None = None, dtype: str | None = None) -> Committee:
        """The mean of the students as an ASE calculator, with their spread; see `Committee`."""
        return Committee([student.path for student in self.students], device, dtype, self.trust)


@overload
def load(path: str | Path, trust: Consent = ()) -> LoadedStudent: ...  # type: ignore[overload-overlap]
@overload
def load(path: Sequence[str | Path], trust: Consent = ()) -> LoadedCommittee: ...
def load(path: str | Path | Sequence[str | Path], trust: Consent = ()) -> LoadedStudent | LoadedCommittee:
    """The student of a file, of a finished run's folder, of a package, or of a repository of the Hugging Face hub,
    `hf://USER/NAME` or `hf://USER/NAME@REVISION`; of several, a committee. Raises DataError for others.

    trust: import paths of students of your own that the file may name, as `["my_module.MyStudent"]`; their code runs.
    True for a package of `python -m jointkd.export`, which is code and runs when its calculator is made.
    """
    consent = trust if isinstance(trust, bool) else trusted_names(trust)
    if not isinstance(path, str | Path):
        return LoadedCommittee(tuple(load(student, consent) for student in path), consent)
    given = locate_student(Path(path))
    saved = read_description(given).saved if is_package(given) else read_student(given)
    return LoadedStudent(given, saved.config, saved.reference_energies, saved.origin, consent)

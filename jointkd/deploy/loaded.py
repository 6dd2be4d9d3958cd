"""A student loaded from a file, with its interfaces to simulation programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jointkd.deploy.ase import JointKD
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


def load(path: str | Path, trust: Consent = ()) -> LoadedStudent:
    """The student of a file, of a finished run's folder, of a package, or of a repository of the Hugging Face hub,
    `hf://USER/NAME` or `hf://USER/NAME@REVISION`. Raises DataError for others.

    trust: import paths of students of your own that the file may name, as `["my_module.MyStudent"]`; their code runs.
    True for a package of `python -m jointkd.export`, which is code and runs when its calculator is made.
    """
    given = locate_student(Path(path))
    saved = read_description(given).saved if is_package(given) else read_student(given)
    consent = trust if isinstance(trust, bool) else trusted_names(trust)
    return LoadedStudent(given, saved.config, saved.reference_energies, saved.origin, consent)

"""Where forces are uncertain: where several students disagree, or one is far from what it was trained on."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from jointkd.deploy.committee import force_uncertainty
from jointkd.deploy.model import Model, check_atoms, load_model
from jointkd.deploy.replicas import ReplicaEvaluator
from jointkd.errors import ConfigError, DataError
from jointkd.files.atomic import file_sha256
from jointkd.simulation.options import SimulationOptions
from jointkd.simulation.stability import UNCERTAIN, Event, label
from jointkd.students.student_file import locate_student


class Doubt:
    """A student that moves structures, and others if there are any, which look at them now and then.

    members: several students, whose forces are compared, or one, whose file says how uncertain they are; limit: eV/Å,
    above which the forces on an atom are uncertain; None: they never are.
    """

    def __init__(self, members: Sequence[Model], limit: float | None = None) -> None:
        self.members, self.limit = list(members), limit
        self._structures: list[Atoms] = []  # that the evaluators are for
        self._evaluators: list[ReplicaEvaluator] = []

    def uncertainties(self, structures: Sequence[Atoms]) -> list[np.ndarray]:
        """[N] eV/Å for each structure: the uncertainty of the force on every atom; NaN for one that is lost.

        Raises DataError for elements that a member does not know.
        """
        if list(map(id, structures)) != list(map(id, self._structures)):
            self._structures = list(structures)
            self._evaluators = [ReplicaEvaluator(member, structures) for member in self.members]
        positions = np.concatenate([atoms.positions for atoms in structures])
        found_by = [evaluator(positions) for evaluator in self._evaluators]
        if len(self.members) > 1:
            uncertainty = force_uncertainty(np.stack([results.forces for results in found_by]))
        else:
            own = found_by[0].force_uncertainty
            assert own is not None
            uncertainty = own
        found = [uncertainty[self._evaluators[0].atoms_of(number)] for number in range(len(structures))]
        for atoms, of_one in zip(structures, found, strict=True):
            if np.isfinite(atoms.positions).all():
                of_one[np.isnan(of_one)] = np.inf  # a student that gives no number is no reason for trust
        return found

    def events(self, atoms: Atoms, uncertainty: np.ndarray) -> list[Event]:
        """The atom whose forces are most uncertain, if they are more so than the limit. uncertainty: [N] eV/Å."""
        worst = int(uncertainty.argmax())
        if self.limit is None or not uncertainty[worst] > self.limit:
            return []
        place, size = label(atoms, worst), f"{uncertainty[worst]:.2f} eV/Å"
        one = f"the force on {place}, which is far from the training, is uncertain by {size}"
        several = f"the students' forces on {place} are {size} from their mean"
        return [Event(UNCERTAIN, (worst,), one if len(self.members) == 1 else several)]


def load_committee(options: SimulationOptions, structures: Iterable[Atoms]) -> dict[str, Model]:
    """The students of `committee` by the checksums of their files.

    Raises what `load_model` raises, and DataError for a student that does not know the elements of the structures.
    """
    committee = {}
    for path in map(str, options.committee):
        model = load_model(Path(path), options.device, options.dtype, options.trust)
        check_known(f"committee={path}", model, structures)
        committee[checksum(path)] = model
    return committee


def check_known(name: str, model: Model, structures: Iterable[Atoms]) -> None:
    """Raise DataError for structures with elements that a student does not know. name: of the student, in messages."""
    for atoms in structures:
        try:
            check_atoms(atoms.numbers, atoms.positions, model.saved.reference_energies, model.elements)
        except DataError as error:
            raise DataError(f"{name}: {error.problem}", error.remedy) from error


def doubt_of(run: str, model: Model, committee: Mapping[str, Model], limit: float | None) -> Doubt | None:
    """Who doubts: the committee of a student, which may be one of its members, or the student alone with a limit.

    None: nobody. Raises ConfigError where neither a committee nor the student can say how uncertain forces are.
    """
    if not committee:
        if limit is not None and not model.gives_uncertainty:
            raise ConfigError(
                f"uncertainty={limit}: run={run} does not say how uncertain its forces are, as imported students "
                "and files of earlier versions do not",
                "train it again, export a package again, or give other students with committee=[…]",
            )
        return None if limit is None else Doubt([model], limit)
    own = checksum(run)
    others = [other for checked, other in committee.items() if checked != own]
    if not others:
        raise ConfigError(f"the committee has no student beside run={run}", "give another one with committee=[…]")
    return Doubt([model, *others], limit)


def checksum(student: str) -> str:
    """The checksum of a student's file, given by its path or by the folder of its run."""
    return file_sha256(locate_student(Path(student)))

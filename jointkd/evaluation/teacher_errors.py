"""A teacher's labels against the reference labels of the same structures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jointkd.data.alignment import Alignment
from jointkd.data.datamodule import DistillationData
from jointkd.data.readers.units import ENERGY, LENGTH
from jointkd.data.references import References
from jointkd.errors import DataError
from jointkd.evaluation.metrics import force_error
from jointkd.labels.store import LabelStore
from jointkd.structures.columns import evenly_spread, keys_of, numbers_of, select, with_both_labels
from jointkd.structures.frame import Frame

SAMPLE = 1000  # structures that are compared before training
ALIKE = 0.9  # correlation of forces above which their slope says in which unit they are
UNIT_TOLERANCE = 0.1  # of a slope
WEAK = 0.25  # of the mean reference force; above that a warning says what the teacher may do


@dataclass(frozen=True)
class Comparison:
    """Mean absolute errors of a teacher, and the relation of the reference forces to its forces."""

    structures: int
    energies: Mapping[str, float]  # of aligned energies, by names of the student's metrics; {} without atomic ones
    raw_energy: float  # meV/atom, of the teacher's own total energies
    forces: float  # meV/Å
    size: float  # meV/Å: mean absolute reference force
    slope: float  # of the reference forces on the teacher's, by least squares
    correlation: float  # of the two

    @property
    def metrics(self) -> dict[str, float]:
        """The errors by the names of the student's metrics, and that of the energies as they are."""
        raw = {"unaligned_energy_mae_meV_per_atom": self.raw_energy}
        return {**self.energies, "force_mae_meV_per_A": self.forces, **raw}

    @property
    def weak(self) -> bool:
        """Whether the teacher's forces are so far off that it may well make the student worse."""
        return self.forces > WEAK * self.size

    def __str__(self) -> str:
        aligned = self.energies.get("energy_mae_meV_per_atom")
        energy = "" if aligned is None else f"energies by {aligned:.3g} meV/atom (aligned), "
        share = self.forces / max(self.size, 1e-9)
        return (
            f"the teacher is off the reference data: {energy}forces by {self.forces:.3g} meV/Å, {share:.0%} of their "
            f"mean size (mean absolute errors on {self.structures} training structures)"
        )


def compare(
    frames: Sequence[Frame], store: LabelStore, alignment: Alignment | None = None, references: References | None = None
) -> Comparison:
    """Compare labels with the energies and forces of frames, all of which have both labels and forces.

    The energy of a structure is the sum of its aligned atomic energies, the targets of the student.
    """
    errors: list[float] = []  # eV, of the aligned energies
    raw: list[float] = []  # eV/atom
    teachers: list[np.ndarray] = []
    given: list[np.ndarray] = []
    for frame in frames:
        assert frame.forces is not None
        assert frame.energy is not None
        labels = store.read(frame.key, rows=False)
        teachers.append(labels.forces.ravel())
        given.append(frame.forces.ravel())
        raw.append((labels.energy - frame.energy) / len(frame))
        if alignment is not None and references is not None:
            relative = frame.energy - references.of(frame.numbers).sum()
            errors.append(alignment.targets(frame, labels).sum() - relative)
    teacher, reference = np.concatenate(teachers).astype(float), np.concatenate(given)
    product = float(teacher @ reference)
    return Comparison(
        structures=len(frames),
        energies=energy_errors(np.array(errors), numbers_of(frames)[1]) if errors else {},
        raw_energy=float(1e3 * np.abs(raw).mean()),
        forces=float(np.abs(force_error(teacher, reference)).mean()),
        size=float(1e3 * np.abs(reference).mean()),
        slope=product / max(float(teacher @ teacher), 1e-12),
        correlation=product / max(float(np.linalg.norm(teacher) * np.linalg.norm(reference)), 1e-12),
    )


def energy_errors(errors: np.ndarray, atoms: np.ndarray) -> dict[str, float]:
    """Mean absolute errors by name. errors [M] eV of structures with so many atoms [M]."""
    return {
        "energy_mae_meV_per_atom": float(1e3 * np.abs(errors / atoms).mean()),
        "energy_mae_meV": float(1e3 * np.abs(errors).mean()),
    }


def compare_sample(data: DistillationData, store: LabelStore) -> Comparison | None:
    """Compare labels with the reference data on the training structures, or on a sample of them.

    None where the reference data are the teacher's. Raises DataError where the forces of the data must be gradients, or
    in another unit.
    """
    if data.reference == "teacher":
        return None
    frames = with_both_labels(data.frames["train"])
    frames = select(frames, (key in store for key in keys_of(frames)))
    if not frames:
        return None
    teacher = data.teacher["train"]
    compared = compare(evenly_spread(frames, SAMPLE), store, teacher.alignment if teacher else None, data.references)
    check_forces(compared, store.teacher.name)
    return compared


def check_forces(compared: Comparison, teacher: str) -> None:
    """Raises DataError where the slope of the reference forces on the teacher's is that of another sign or unit."""
    of_teacher = f"the forces of the data are {compared.slope:.3g} times those of teacher {teacher}"
    if compared.correlation < -ALIKE:
        raise DataError(
            f"{of_teacher}: the data, or the teacher, give gradients instead of forces", "change the sign of the forces"
        )
    if compared.correlation < ALIKE:
        return
    for energy, size in ENERGY.items():
        for length, extent in LENGTH.items():
            unit = size / extent  # eV/Å
            if abs(unit - 1) < 2 * UNIT_TOLERANCE:
                continue
            if abs(compared.slope * unit - 1) < UNIT_TOLERANCE:
                raise DataError(
                    f"{of_teacher}, as if they were in {energy}/{length} and had been read in eV/angstrom",
                    f"set data.units.energy={energy} data.units.length={length} if that is their unit",
                )
            if abs(compared.slope / unit - 1) < UNIT_TOLERANCE:
                raise DataError(
                    f"{of_teacher}, as if they were in eV/angstrom and had been read in {energy}/{length}",
                    "set data.units.energy=eV data.units.length=angstrom if that is their unit",
                )


def teacher_errors(data: DistillationData, split: str) -> dict[str, float]:
    """The teacher's mean absolute errors on a split, by the names of the student's metrics.

    A teacher without atomic energies has no energy error. Raises LabelMismatch for structures without labels.
    """
    teacher = data.teacher["train"]
    assert teacher is not None
    frames = data.labelled(split, teacher.store)
    return compare(frames, teacher.store, teacher.alignment, data.references).metrics

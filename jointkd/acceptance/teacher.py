"""The student against its teacher: forces where its dynamics goes, vibrations, structure, and speed."""

import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms

from jointkd.acceptance.gate import Gate, at_least, at_most, measured, unmeasured
from jointkd.acceptance.options import TeacherLimits
from jointkd.acceptance.radial import KELVIN, radial_distribution
from jointkd.acceptance.relaxation import relax, with_calculator
from jointkd.acceptance.vibrations import frequencies
from jointkd.deploy.ase import JointKD
from jointkd.labels.directions import NO_ROWS
from jointkd.teachers.base import Teacher
from jointkd.teachers.calculator import TeacherCalculator, frame_of

log = logging.getLogger(__name__)

TIMED = 10  # steps, of which the median counts
NAMES = ("forces on visited frames", "vibrational frequencies", "radial distribution", "speed-up")


class AgainstTeacher(NamedTuple):
    """The gates, and the frequencies that they were measured from."""

    gates: list[Gate]
    student: np.ndarray  # [M] cm⁻¹; empty where there are none
    teacher: np.ndarray  # [M] cm⁻¹


def against_teacher(
    student: JointKD,
    precise: JointKD,
    teacher: Teacher,
    structures: Sequence[Atoms],
    visited: Sequence[Atoms],
    limits: TeacherLimits,
    seed: int,
) -> AgainstTeacher:
    """All gates. precise: the student in double precision; visited: frames of its own dynamics."""
    rng, smallest = np.random.default_rng(seed), min(structures, key=len)
    spectra: list[np.ndarray] = []
    periodic = periodic_of(structures)
    gates = [
        measured(NAMES[0], limits.force_mae, "meV/Å", lambda: force_gate(student, teacher, visited, limits, rng)),
        measured(
            NAMES[1], limits.frequencies, "cm⁻¹", lambda: frequency_gate(precise, teacher, smallest, limits, spectra)
        ),
        measured(NAMES[3], limits.speedup, "times", lambda: speed_gate(student, teacher, structures[0], limits), "≥"),
    ]
    if periodic is not None:
        gates.append(
            measured(NAMES[2], limits.radial, "", lambda: radial_gate(student, teacher, periodic, limits, seed))
        )
    return AgainstTeacher(gates, *(spectra or (np.empty(0), np.empty(0))))


def unavailable(limits: TeacherLimits, reason: str, structures: Sequence[Atoms]) -> list[Gate]:
    """The gates without a teacher, none of which is measured."""
    periodic = [unmeasured(NAMES[2], limits.radial, "", reason)] if periodic_of(structures) else []
    return [
        unmeasured(NAMES[0], limits.force_mae, "meV/Å", reason),
        unmeasured(NAMES[1], limits.frequencies, "cm⁻¹", reason),
        unmeasured(NAMES[3], limits.speedup, "times", reason, "≥"),
        *periodic,
    ]


def periodic_of(structures: Sequence[Atoms]) -> Atoms | None:
    """The first structure that is periodic in three directions, if there is one."""
    return next((atoms for atoms in structures if atoms.pbc.all()), None)


def force_gate(
    student: JointKD, teacher: Teacher, visited: Sequence[Atoms], limits: TeacherLimits, rng: np.random.Generator
) -> Gate:
    """The mean absolute error of force components on frames that the student's dynamics visited."""
    if not visited:
        return unmeasured(NAMES[0], limits.force_mae, "meV/Å", "the dynamics visited no frames")
    chosen = [visited[number] for number in rng.permutation(len(visited))[: limits.frames]]
    errors = []
    for atoms in chosen:
        (labels,) = teacher.label([frame_of(atoms)], [NO_ROWS])
        errors.append(
            np.abs(with_calculator(atoms, student).get_forces(apply_constraint=False) - labels.forces).flatten()
        )
    worst = 1000 * max(each.max() for each in errors)
    said = f"mean of {len(chosen)} frames of the student's own dynamics; largest {worst:.0f} meV/Å"
    return at_most(NAMES[0], 1000 * float(np.concatenate(errors).mean()), limits.force_mae, "meV/Å", said)


def frequency_gate(
    student: JointKD, teacher: Teacher, start: Atoms, limits: TeacherLimits, spectra: list[np.ndarray]
) -> Gate:
    """The mean absolute error of frequencies at a minimum of the student, imaginary ones negative.

    spectra: gets those of the student and of the teacher.
    """
    atoms = with_calculator(start, student)
    relax(atoms, limits.relaxation)
    name = start.get_chemical_formula()
    size = 3 * len(atoms)
    (labels,) = teacher.label([frame_of(atoms)], [np.arange(size)])
    spectra += [
        frequencies(student.get_hessian(atoms), atoms),
        frequencies(labels.hessian_rows.reshape(size, size).astype(float), atoms),
    ]
    error = np.abs(spectra[0] - spectra[1])
    said = f"mean of {len(error)} modes of {name} relaxed with the student; largest {error.max():.0f} cm⁻¹"
    return at_most(NAMES[1], float(error.mean()), limits.frequencies, "cm⁻¹", said)


def speed_gate(student: JointKD, teacher: Teacher, structure: Atoms, limits: TeacherLimits) -> Gate:
    """How many times faster energy and forces of the student are than those of the teacher, on this machine."""
    milliseconds = [
        1000 * timed(with_calculator(structure, calculator)) for calculator in (student, TeacherCalculator(teacher))
    ]
    ours, theirs = milliseconds
    said = f"{ours:.3g} ms a step against {theirs:.3g} ms of the teacher, {len(structure)} atoms, on this machine"
    return at_least(NAMES[3], theirs / ours, limits.speedup, "times", said)


def timed(atoms: Atoms) -> float:
    """The median time of a step, s."""
    times, rng = [], np.random.default_rng(0)
    for _ in range(TIMED + 1):
        atoms.set_positions(atoms.positions + 1e-3 * rng.standard_normal((len(atoms), 3)), apply_constraint=False)
        start = time.perf_counter()
        atoms.get_forces()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def radial_gate(student: JointKD, teacher: Teacher, start: Atoms, limits: TeacherLimits, seed: int) -> Gate:
    """The difference of the radial distributions in dynamics of a periodic structure with each of them."""
    ours, theirs = (
        radial_distribution(with_calculator(start, calculator), limits.radial_time, seed)
        for calculator in (student, TeacherCalculator(teacher))
    )
    difference = float(np.abs(ours - theirs).sum() / theirs.sum())
    said = f"{start.get_chemical_formula()}, {limits.radial_time:g} ps at {KELVIN:g} K with each"
    return at_most(NAMES[2], difference, limits.radial, "", said)

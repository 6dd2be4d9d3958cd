"""The student against its teacher in a crystal, each at its own minimum: equation of state, elasticity, phonons."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import spglib
from ase import Atoms

from jointkd.acceptance.elasticity import Curve, elastic_constants, equation_of_state
from jointkd.acceptance.gate import Gate, at_most, unmeasured
from jointkd.acceptance.options import CrystalLimits
from jointkd.acceptance.phonons import phonons, repeats_of
from jointkd.acceptance.relaxation import relax, with_calculator
from jointkd.deploy.ase import JointKD
from jointkd.errors import DataError, UserError, first_line
from jointkd.structures.cells import heights
from jointkd.teachers.base import Teacher
from jointkd.teachers.calculator import TeacherCalculator, frame_of

log = logging.getLogger(__name__)

VACUUM = 6.0  # Å without atoms along a lattice vector: a surface or a molecule in a box; layers of a crystal are nearer
SYMPREC = 0.03  # Å; more than a relaxation leaves, less than the displacements of ferroelectric crystals
IMAGINARY = 10.0  # cm⁻¹; frequencies below −10 cm⁻¹ are more than rounding and what a relaxation leaves


@dataclass
class Crystal:
    """The gates, and what they were measured from: pairs of the student's and the teacher's. None: not measured."""

    gates: list[Gate] = field(default_factory=list)
    name: str = ""  # formula and space group
    curves: tuple[Curve, Curve] | None = None
    constants: tuple[np.ndarray, np.ndarray] | None = None  # [6, 6] GPa
    frequencies: tuple[np.ndarray, np.ndarray] | None = None  # [Q, 3N] cm⁻¹


class Minima(NamedTuple):
    """A crystal at the minimum of the student and at that of the teacher, with their calculators."""

    student: Atoms
    teacher: Atoms


def crystals_of(structures: Sequence[Atoms], most_atoms: int) -> list[Atoms]:
    """Structures that are periodic in three directions and have no vacuum, of the composition of the smallest.

    Those with more than most_atoms, liquids among them, are left out; a line says so where no others are left.
    """
    solid = sorted((atoms for atoms in structures if atoms.pbc.all() and not has_vacuum(atoms)), key=len)
    small = [atoms for atoms in solid if len(atoms) <= most_atoms]
    if solid and not small:
        log.info(
            "%s has more than crystal.most_atoms=%d atoms, so it is not measured as a crystal",
            solid[0].get_chemical_formula(),
            most_atoms,
        )
    return [atoms for atoms in small if composition(atoms) == composition(small[0])]


def composition(atoms: Atoms) -> str:
    """The reduced formula."""
    return f"{atoms.symbols.formula.reduce()[0]:hill}"


def has_vacuum(atoms: Atoms) -> bool:
    """Whether lattice planes further apart than `VACUUM` have no atom between them."""
    places = np.sort(atoms.get_scaled_positions(wrap=True), axis=0)
    gaps = np.diff(places, axis=0, append=places[:1] + 1).max(axis=0)
    return bool((gaps * heights(atoms.cell.array) > VACUUM).any())


def in_a_crystal(student: JointKD, teacher: Teacher, structures: Sequence[Atoms], limits: CrystalLimits) -> Crystal:
    """The gates of `limits.properties`. student: in double precision; structures: see `crystals_of`.

    The one with the lowest energy per atom is taken: defects and displacements cost energy.
    """
    try:
        energies = [with_calculator(atoms, student).get_potential_energy() / len(atoms) for atoms in structures]
        structure = structures[int(np.argmin(energies))]
        minima = relaxed(student, teacher, structure, limits)
    except UserError as error:
        return Crystal(unavailable(limits, first_line(error)))
    crystal = Crystal(name=name_of(minima.student))
    for each in limits.properties:
        log.info("%s of %s, with the student and with the teacher", each.replace("_", " "), crystal.name)
        places = thresholds(each, limits)
        try:
            found = MEASURES[each](minima, limits, crystal)
        except UserError as error:
            crystal.gates += [unmeasured(*place, first_line(error)) for place in places]
        else:
            crystal.gates += [
                at_most(name, value, threshold, unit, detail)
                for (name, threshold, unit), (value, detail) in zip(places, found, strict=True)
            ]
    return crystal


def unavailable(limits: CrystalLimits, reason: str) -> list[Gate]:
    """The gates, none of which is measured."""
    return [unmeasured(*place, reason) for each in limits.properties for place in thresholds(each, limits)]


def thresholds(measure: str, limits: CrystalLimits) -> list[tuple[str, float, str]]:
    """Name, threshold and unit of the gates of a measurement."""
    return {
        "equation_of_state": [("equilibrium volume", limits.volume, "%"), ("bulk modulus", limits.bulk_modulus, "%")],
        "elastic_constants": [("elastic constants", limits.elastic_constants, "%")],
        "phonons": [
            ("phonon frequencies", limits.frequencies, "cm⁻¹"),
            ("imaginary phonons", limits.imaginary, "modes"),
        ],
    }[measure]


def relaxed(student: JointKD, teacher: Teacher, structure: Atoms, limits: CrystalLimits) -> Minima:
    """The primitive cell of the structure's minimum with the student, relaxed with each of them. Raises DataError."""
    name = structure.get_chemical_formula()
    if "stress" not in student.implemented_properties:
        raise DataError(
            f"the student has no stress, by which {name} relaxes: its forces are not derivatives of an energy",
            "train with student.conservative=true",
        )
    log.info("the cell of %s relaxes, with the student and with the teacher", name)
    start = with_calculator(structure, student)
    relax(start, limits.relaxation, cell=True)
    start = primitive(start)
    minima = Minima(with_calculator(start, student), with_calculator(start, TeacherCalculator(teacher)))
    for atoms in minima:
        relax(atoms, limits.relaxation, cell=True)
    return minima


def primitive(atoms: Atoms) -> Atoms:
    """The primitive cell of a crystal, with its symmetry made exact; a copy where none is found."""
    try:
        found: Any = spglib.standardize_cell(plain(atoms), to_primitive=True, symprec=SYMPREC)
    except spglib.SpglibError:
        found = None
    if found is None:
        return atoms.copy()
    cell, places, numbers = found
    return Atoms(numbers, scaled_positions=places, cell=cell, pbc=True)


def name_of(atoms: Atoms) -> str:
    """The formula of a crystal and, where there is one, its space group."""
    try:
        group = spglib.get_spacegroup(plain(atoms), symprec=SYMPREC)
    except spglib.SpglibError:
        group = None
    return f"{atoms.get_chemical_formula()} ({group.split()[0]})" if group else atoms.get_chemical_formula()


def plain(atoms: Atoms) -> Any:
    """A crystal as spglib takes it."""
    return atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers


def volumes(minima: Minima, limits: CrystalLimits, crystal: Crystal) -> list[tuple[float, str]]:
    """Errors of the volume and of the bulk modulus in equilibrium, %."""
    ours, theirs = (equation_of_state(atoms, limits.relaxation) for atoms in minima)
    crystal.curves = ours, theirs
    return [
        (
            100 * abs(ours.volume / theirs.volume - 1),
            f"{crystal.name}: {ours.volume:.4g} Å³/atom, the teacher's {theirs.volume:.4g}",
        ),
        (100 * abs(ours.modulus / theirs.modulus - 1), f"{ours.modulus:.4g} GPa, the teacher's {theirs.modulus:.4g}"),
    ]


def elasticity(minima: Minima, limits: CrystalLimits, crystal: Crystal) -> list[tuple[float, str]]:
    """The error of the elastic constants: the sum of its absolute values over that of the teacher's constants, %."""
    ours, theirs = (elastic_constants(atoms, limits.relaxation) for atoms in minima)
    crystal.constants = ours, theirs
    error = np.abs(ours - theirs)
    said = f"Σ|C − C_teacher| / Σ|C_teacher|; mean absolute error {error.mean():.3g} GPa, largest {error.max():.3g}"
    return [(100 * float(error.sum() / np.abs(theirs).sum()), said)]


def vibrations(minima: Minima, limits: CrystalLimits, crystal: Crystal) -> list[tuple[float, str]]:
    """The mean absolute error of frequencies, and the number of imaginary modes that the teacher does not have."""
    student: JointKD = minima.student.calc
    teacher: Teacher = minima.teacher.calc.teacher
    repeats = repeats_of(minima.student, limits.supercell, limits.most_atoms)
    supercells, first = [atoms.repeat(repeats) for atoms in minima], np.arange(3 * len(minima.student))
    (labels,) = teacher.label([frame_of(supercells[1])], [first])
    rows = student.get_hessian(supercells[0], first.tolist()), labels.hessian_rows
    ours, theirs = (phonons(own, atoms, repeats) for own, atoms in zip(rows, minima, strict=True))
    crystal.frequencies = ours, theirs
    error = np.abs(ours - theirs)
    more = np.maximum((ours < -IMAGINARY).sum(axis=1) - (theirs < -IMAGINARY).sum(axis=1), 0)
    mesh = "×".join(map(str, repeats))
    return [
        (float(error.mean()), f"mean of {error.size} modes at {mesh} wave vectors; largest {error.max():.3g} cm⁻¹"),
        (
            int(more.sum()),
            f"below −{IMAGINARY:g} cm⁻¹ where the teacher has none; the lowest {ours.min():.3g} cm⁻¹, "
            f"the teacher's {theirs.min():.3g}",
        ),
    ]


MEASURES = {"equation_of_state": volumes, "elastic_constants": elasticity, "phonons": vibrations}

"""Any ASE calculator as a teacher: its energies and forces, and Hessian rows by finite differences of its forces."""

import contextlib
import logging
from importlib import import_module
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, PropertyNotImplementedError
from ase.data import chemical_symbols, covalent_radii

from jointkd.errors import ConfigError, MissingExtra, TeacherError, first_line
from jointkd.files.foreign_loads import foreign_loads
from jointkd.labels.directions import NO_ROWS, vectors
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.ranges import check_number
from jointkd.structures.frame import Frame
from jointkd.teachers.base import by_atomic_number, check_elements
from jointkd.teachers.charges import is_charged, refuse, with_charge

log = logging.getLogger(__name__)

DISPLACEMENT = 2e-3  # Å, of the central differences that give Hessian rows
EVERY_ELEMENT = tuple(range(1, len(chemical_symbols)))


class AseTeacher:
    """A calculator that labels one structure at a time. displacement: Å, of the central differences."""

    batch_atoms = 1
    rows_precision = "differences"  # selects the bounds for checks of labels
    takes_charge = True  # or it is refused with the first structure that has one

    def __init__(self, calculator: BaseCalculator, identity: TeacherIdentity, displacement: float) -> None:
        self.calculator = calculator
        self.identity = identity
        self.displacement = displacement
        self.works = False  # whether the calculator has succeeded once
        self.charges_checked = False

    def label(self, frames: list[Frame], directions: list[np.ndarray]) -> list[TeacherLabels]:
        """Labels of each structure, not finite if the calculator fails on it; see `Teacher`.

        Raises TeacherError if the calculator has never succeeded and fails on pairs of atoms as well.
        """
        check_elements(frames, self.identity)
        with foreign_loads():
            return [self._label(frame, ids) for frame, ids in zip(frames, directions, strict=True)]

    def _label(self, frame: Frame, directions: np.ndarray) -> TeacherLabels:
        atoms = with_charge(frame)
        try:
            labels = self._calculate(atoms, directions)
        except (torch.OutOfMemoryError, MemoryError, TeacherError):
            raise
        except Exception as error:  # calculators raise errors of any class
            if not self.works:
                self._try_pairs(sorted({int(z) for z in frame.numbers}), error)
            log.warning("%s: %s fails (%s)", frame.source or frame.key, self.identity.name, first_line(error))
            return failed_labels(len(frame), directions)
        self.works = True
        if is_charged(frame) and not self.charges_checked:
            self._check_charge(frame, labels.energy)
        return labels

    def _check_charge(self, frame: Frame, energy: float) -> None:
        """Raise TeacherError if a structure has the same energy without its charge and spin."""
        try:
            neutral = self._calculate(frame.to_ase(), NO_ROWS).energy
        except Exception:  # calculators raise errors of any class: this one tells a radical from an ion
            neutral = np.nan
        if neutral == energy:
            refuse(frame, "structures", self.identity.name)
        self.charges_checked = True

    def _calculate(self, atoms: Atoms, directions: np.ndarray) -> TeacherLabels:
        reset(self.calculator)  # labels must not depend on earlier structures, not even in the last digit
        atoms.calc = self.calculator
        energy = float(
            atoms.get_potential_energy(force_consistent="free_energy" in self.calculator.implemented_properties)
        )
        forces = np.array(atoms.get_forces(), dtype=np.float64)
        atomic = np.zeros(0)
        if self.identity.atomic_energies:
            free = [self.identity.free_atom_energies.get(int(z), 0.0) for z in atoms.numbers]
            atomic = self._atomic_energies(atoms) - free
        return TeacherLabels(energy, atomic, forces, difference_rows(atoms, directions, self.displacement), directions)

    def _atomic_energies(self, atoms: Atoms) -> np.ndarray:
        """[N] eV. Raises TeacherError where a calculator has them only if it is asked."""
        try:
            return np.array(atoms.get_potential_energies(), dtype=np.float64)
        except PropertyNotImplementedError as error:
            raise TeacherError(
                f"teacher {self.identity.name} returns no energies of atoms, though its calculator can",
                "ask for them in teacher.options, as 'teacher.options={return_site_energies: true}' of CHGNet, or "
                "leave them out with teacher.atomic_energies=false",
            ) from error

    def rows(self, frame: Frame, directions: np.ndarray, displacement: float) -> np.ndarray:
        """[K, N, 3] eV/Å²: Hessian rows, or products with probes, by central differences of another displacement, Å."""
        atoms = with_charge(frame)
        atoms.calc = self.calculator
        return difference_rows(atoms, directions, displacement)

    def _try_pairs(self, numbers: list[int], error: Exception) -> None:
        """Raise TeacherError unless the calculator succeeds on a pair of atoms of one element, near its bond length."""
        for number in numbers:
            pair = Atoms([number] * 2, [[0.0, 0.0, 0.0], [0.0, 0.0, 2 * covalent_radii[number]]])
            with contextlib.suppress(Exception):
                self._calculate(pair, NO_ROWS)
                self.works = True
                return
        raise TeacherError(
            f"teacher {self.identity.name} cannot calculate anything ({first_line(error)})",
            "check teacher.options, and the installation of the calculator",
        ) from error


def difference_rows(atoms: Atoms, directions: np.ndarray, displacement: float) -> np.ndarray:
    """The energy Hessian along directions by central differences of forces. displacement: Å → [K, N, 3] eV/Å².

    Its product with a vector v of length one is −(F(R + h v) − F(R − h v)) / 2h, so a direction costs two force
    calculations. By symmetry, row 3i + a is the product with the unit vector of that coordinate. This requires that the
    forces are the gradient of an energy.
    """
    rows = np.empty((len(directions), len(atoms), 3))
    positions = atoms.positions.copy()
    for row, vector in zip(rows, vectors(directions, len(atoms)), strict=True):
        step = displacement * vector
        atoms.positions = positions + step
        forces_ahead = np.array(atoms.get_forces())
        atoms.positions = positions - step
        row[:] = (atoms.get_forces() - forces_ahead) / (2 * displacement)
    atoms.positions = positions
    return rows


def failed_labels(atoms: int, directions: np.ndarray) -> TeacherLabels:
    """Labels that are not finite, for a structure on which the calculator failed."""
    forces, rows = np.full((atoms, 3), np.nan), np.full((len(directions), atoms, 3), np.nan)
    return TeacherLabels(np.nan, np.zeros(0), forces, rows, directions)


def reset(calculator: BaseCalculator) -> None:
    """Discard the results of earlier structures, which a calculator might start from."""
    if hasattr(calculator, "reset"):
        calculator.reset()


def from_calculator(
    calculator: str,
    name: str,
    options: dict[str, Any] | None = None,
    dtype: str = "float64",
    displacement: float = DISPLACEMENT,
    atomic_energies: bool | None = None,
    free_atom_energies: dict[str, float] | None = None,
    elements: list[str] | None = None,
    licence: str = "",
    level_of_theory: str = "",
    citation: str = "",
) -> AseTeacher:
    """A teacher from any ASE calculator. calculator: the import path of its class, or of what returns it.

    options: arguments of the class or function; displacement: Å; atomic_energies: whether the calculator's atomic
    energies are labels (None: if it has them); free_atom_energies: eV by symbol, subtracted from atomic energies;
    elements: symbols of the elements that it can calculate (None: all).

    Raises MissingExtra, ConfigError for other objects and wrong options, TeacherError for a calculator without energies
    or forces.
    """
    if dtype != "float64":
        raise ConfigError(f"teacher.dtype={dtype} must be float64 for ASE calculators", "leave out teacher.dtype")
    check_number("teacher.displacement", displacement, "Å")
    with foreign_loads():
        built = build(calculator, options or {})
    properties = set(built.implemented_properties)
    if missing := {"energy", "forces"} - properties:
        raise TeacherError(
            f"{calculator} does not implement {' and '.join(sorted(missing))}", "choose another calculator"
        )
    if atomic_energies and "energies" not in properties:
        raise TeacherError(f"{calculator} does not implement energies of atoms", "leave out teacher.atomic_energies")
    free = by_atomic_number(free_atom_energies or {}, "free_atom_energies")
    known = tuple(sorted(by_atomic_number(dict.fromkeys(elements or [], 0.0), "elements") or free or EVERY_ELEMENT))
    if free and not free.keys() >= set(known):
        absent = next(chemical_symbols[z] for z in known if z not in free)
        raise ConfigError(
            f"teacher.free_atom_energies has no entry for {absent}", "give all of teacher.elements, or none"
        )
    use_atomic_energies = "energies" in properties and atomic_energies is not False
    if use_atomic_energies:
        log.warning(
            "the atomic energies of %s are used as labels; those of a quantum-chemical partition, such as xTB's, are "
            "poor targets for a student: prefer method=hessian for them, and see docs/teachers.md",
            name,
        )
    identity = TeacherIdentity(
        name=name,
        checkpoint=description(calculator, options, displacement, atomic_energies),
        dtype=dtype,
        elements=known,
        free_atom_energies=free,
        atomic_energies=use_atomic_energies,
        licence=licence,
        level_of_theory=level_of_theory,
        citation=citation,
        versions={"ase": version("ase"), **version_of(calculator)},
    )
    return AseTeacher(built, identity, displacement)


def build(path: str, options: dict[str, Any]) -> BaseCalculator:
    """The calculator of an import path. Raises MissingExtra if its package is not installed, ConfigError."""
    module = path.rpartition(".")[0]
    package = path.partition(".")[0]
    remedy = "give the import path of an ASE calculator, such as tblite.ase.TBLite"
    try:
        make = imported(path)
    except ModuleNotFoundError as error:
        if error.name is None or (module.startswith(error.name) and error.name != package):
            raise ConfigError(f"teacher.calculator={path} does not exist ({first_line(error)})", remedy) from error
        raise MissingExtra(
            f"teacher.calculator={path} needs the package {error.name}, which is not installed",
            "install it, or " + remedy,
        ) from error
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"teacher.calculator={path} cannot be imported ({first_line(error)})", remedy) from error
    try:
        built = make(**options)
    except Exception as error:  # foreign code raises errors of any class
        raise ConfigError(
            f"{path} cannot be built with teacher.options={options} ({first_line(error)})", "see its documentation"
        ) from error
    if not isinstance(built, BaseCalculator):
        raise ConfigError(
            f"teacher.calculator={path} must be an ASE calculator, but it is {type(built).__name__}", remedy
        )
    return built


def imported(path: str) -> Any:
    """The object of an import path, also a method of a class. Raises ImportError, AttributeError, ValueError."""
    module, _, name = path.rpartition(".")
    owner: Any
    try:
        owner = import_module(module)
    except ModuleNotFoundError as error:
        parent, _, kind = module.rpartition(".")
        owner = getattr(import_module(parent), kind, None) if parent and error.name == module else None
        if owner is None:
            raise
    return getattr(owner, name)


def description(
    calculator: str, options: dict[str, Any] | None, displacement: float, atomic_energies: bool | None
) -> str:
    """All that determines the labels of a calculator, as text; it replaces the checksum of weights."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in sorted((options or {}).items()))
    package = "".join(f" of {name} {number}" for name, number in version_of(calculator).items())
    without = ", without atomic energies" if atomic_energies is False else ""
    return f"{calculator}({arguments}){package}, rows by ±{displacement} Å{without}"


def version_of(calculator: str) -> dict[str, str]:
    """The package of an import path and its version; {} if the module does not belong to an installed package."""
    package = calculator.partition(".")[0]
    for distribution in (package, *packages_distributions().get(package, ())):
        try:
            return {distribution: version(distribution)}
        except PackageNotFoundError:
            continue
    return {}

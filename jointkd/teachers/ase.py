"""Any ASE calculator as a teacher: energies and forces as it gives them, Hessian rows by differences of forces."""

import contextlib
import logging
from importlib import import_module
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.data import atomic_numbers, chemical_symbols, covalent_radii

from jointkd.errors import ConfigError, MissingExtra, TeacherError, first_line
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.structures.frame import Frame
from jointkd.teachers.base import check_elements

log = logging.getLogger(__name__)

DISPLACEMENT = 2e-3  # Å, of the central differences that make Hessian rows
EVERY_ELEMENT = tuple(range(1, len(chemical_symbols)))


class AseTeacher:
    """A calculator that labels one structure at a time; displacement in Å, of the central differences."""

    batch_atoms = 1
    rows_precision = "differences"  # how exact rows are, for checks of labels

    def __init__(self, calculator: BaseCalculator, identity: TeacherIdentity, displacement: float) -> None:
        self.calculator = calculator
        self.identity = identity
        self.displacement = displacement
        self.works = False  # whether it has given anything yet

    def label(self, frames: list[Frame], row_ids: list[np.ndarray]) -> list[TeacherLabels]:
        """Labels of each frame; those of a structure on which the calculator fails are not finite, see `Teacher`.

        Raises TeacherError where the calculator fails on whatever it is given.
        """
        check_elements(frames, self.identity)
        return [self._label(frame, ids) for frame, ids in zip(frames, row_ids, strict=True)]

    def _label(self, frame: Frame, row_ids: np.ndarray) -> TeacherLabels:
        atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        try:
            labels = self._calculate(atoms, row_ids)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # calculators raise what they like
            if not self.works:
                self._try_pairs(sorted({int(z) for z in frame.numbers}), error)
            log.warning("%s: %s fails (%s)", frame.source or frame.key, self.identity.name, first_line(error))
            return nothing(len(frame), row_ids)
        self.works = True
        return labels

    def _calculate(self, atoms: Atoms, row_ids: np.ndarray) -> TeacherLabels:
        forget(self.calculator)  # labels must not depend on what was calculated before, not even in the last digit
        atoms.calc = self.calculator
        energy = float(atoms.get_potential_energy())
        forces = np.array(atoms.get_forces(), dtype=np.float64)
        atomic = np.zeros(0)
        if self.identity.atomic_energies:
            free = [self.identity.free_atom_energies.get(int(z), 0.0) for z in atoms.numbers]
            atomic = np.array(atoms.get_potential_energies(), dtype=np.float64) - free
        return TeacherLabels(energy, atomic, forces, difference_rows(atoms, row_ids, self.displacement), row_ids)

    def _try_pairs(self, numbers: list[int], error: Exception) -> None:
        """Raises TeacherError unless the calculator can do two atoms of one of the elements, near their bond length."""
        for number in numbers:
            pair = Atoms([number] * 2, [[0.0, 0.0, 0.0], [0.0, 0.0, 2 * covalent_radii[number]]])
            with contextlib.suppress(Exception):
                self._calculate(pair, np.zeros(0, int))
                self.works = True
                return
        raise TeacherError(
            f"teacher {self.identity.name} cannot calculate anything ({first_line(error)})",
            "look at teacher.options, and at what the calculator needs to run",
        ) from error


def difference_rows(atoms: Atoms, row_ids: np.ndarray, displacement: float) -> np.ndarray:
    """Rows of the energy Hessian by central differences of forces. row_ids [K] → [K, N, 3] eV/Å².

    Row 3 · i + a, ∂²E/∂R_ia∂R, is by symmetry the column −∂F/∂R_ia, so it costs two calculations of forces of the whole
    structure: −(F(R + h e_ia) − F(R − h e_ia)) / 2h. Forces that are no gradient of an energy have columns only.
    """
    rows = np.empty((len(row_ids), len(atoms), 3))
    at = atoms.positions.copy()
    for row, row_id in zip(rows, row_ids, strict=True):
        step = np.zeros_like(at)
        step.flat[row_id] = displacement
        atoms.positions = at + step
        ahead = np.array(atoms.get_forces())
        atoms.positions = at - step
        row[:] = (atoms.get_forces() - ahead) / (2 * displacement)
    atoms.positions = at
    return rows


def nothing(atoms: int, row_ids: np.ndarray) -> TeacherLabels:
    """Labels that are not finite, of a structure that could not be calculated."""
    forces, rows = np.full((atoms, 3), np.nan), np.full((len(row_ids), atoms, 3), np.nan)
    return TeacherLabels(np.nan, np.zeros(0), forces, rows, row_ids)


def forget(calculator: BaseCalculator) -> None:
    """Leave nothing of an earlier structure to start from."""
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
    """A teacher of any ASE calculator; calculator: import path of a class, or of a function that gives one.

    displacement: Å; atomic_energies: whether to take them (null: where it has them); free_atom_energies: eV by symbol,
    to be subtracted from them; elements: symbols that it knows (null: all).
    Raises MissingExtra, ConfigError for what is no calculator, TeacherError for one without energies or forces.
    """
    if dtype != "float64":
        raise ConfigError(f"teacher.dtype={dtype}: ASE calculators give float64", "leave out teacher.dtype")
    if displacement <= 0:
        raise ConfigError(f"teacher.displacement={displacement} is no step in Å", "give a small positive length")
    made = build(calculator, options or {})
    can = set(made.implemented_properties)
    if lacking := {"energy", "forces"} - can:
        raise TeacherError(f"{calculator} gives no {' and no '.join(sorted(lacking))}", "take another calculator")
    if atomic_energies and "energies" not in can:
        raise TeacherError(f"{calculator} gives no energies of atoms", "leave out teacher.atomic_energies")
    free = numbered(free_atom_energies or {}, "free_atom_energies")
    known = tuple(sorted(numbered(dict.fromkeys(elements or [], 0.0), "elements") or free or EVERY_ELEMENT))
    if free and not free.keys() >= set(known):
        absent = next(chemical_symbols[z] for z in known if z not in free)
        raise ConfigError(f"teacher.free_atom_energies has no {absent}", "give all of teacher.elements, or none")
    takes = "energies" in can and atomic_energies is not False
    if takes:
        log.warning(
            "the atomic energies of %s are taken; those of a quantum-chemical partition, such as xTB's, are poor "
            "targets for a student: prefer method=hessian there, and see docs/teachers.md",
            name,
        )
    identity = TeacherIdentity(
        name=name,
        checkpoint=description(calculator, options, displacement, atomic_energies),
        dtype=dtype,
        elements=known,
        free_atom_energies=free,
        atomic_energies=takes,
        licence=licence,
        level_of_theory=level_of_theory,
        citation=citation,
        versions={"ase": version("ase"), **version_of(calculator)},
    )
    return AseTeacher(made, identity, displacement)


def build(path: str, options: dict[str, Any]) -> BaseCalculator:
    """The calculator of an import path. Raises MissingExtra where its package is not here, ConfigError."""
    module, _, name = path.rpartition(".")
    package = path.partition(".")[0]
    remedy = "give the import path of an ASE calculator, such as tblite.ase.TBLite"
    try:
        make = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or (module.startswith(error.name) and error.name != package):
            raise ConfigError(f"teacher.calculator={path} does not exist ({first_line(error)})", remedy) from error
        raise MissingExtra(
            f"teacher.calculator={path} needs the package {error.name}, which is not here", "install it, or " + remedy
        ) from error
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"teacher.calculator={path} cannot be imported ({first_line(error)})", remedy) from error
    try:
        made = make(**options)
    except Exception as error:  # what others wrote raises what it likes
        raise ConfigError(
            f"{path} cannot be made of teacher.options={options} ({first_line(error)})", "see its documentation"
        ) from error
    if not isinstance(made, BaseCalculator):
        raise ConfigError(f"teacher.calculator={path} is no ASE calculator but {type(made).__name__}", remedy)
    return made


def description(
    calculator: str, options: dict[str, Any] | None, displacement: float, atomic_energies: bool | None
) -> str:
    """What makes labels of a calculator those of that one: in the place of a checksum of weights."""
    given = ", ".join(f"{name}={value!r}" for name, value in sorted((options or {}).items()))
    package = "".join(f" of {name} {number}" for name, number in version_of(calculator).items())
    without = ", without atomic energies" if atomic_energies is False else ""
    return f"{calculator}({given}){package}, rows by ±{displacement} Å{without}"


def version_of(calculator: str) -> dict[str, str]:
    """The installed package that an import path begins with, and its version; nothing for a module without one."""
    package = calculator.partition(".")[0]
    for distribution in (package, *packages_distributions().get(package, ())):
        try:
            return {distribution: version(distribution)}
        except PackageNotFoundError:
            continue
    return {}


def numbered(values: dict[str, float], option: str) -> dict[int, float]:
    """Values by atomic number instead of symbol. Raises ConfigError for what is no element."""
    for symbol in values:
        if atomic_numbers.get(symbol, 0) == 0:
            raise ConfigError(f"teacher.{option} has {symbol}, which is no element", "give symbols: H, C, Si, …")
    return {atomic_numbers[symbol]: float(value) for symbol, value in values.items()}

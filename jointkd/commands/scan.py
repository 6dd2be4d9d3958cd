"""Energies along a dihedral: scans of a molecule, or the slices of 3BPA that the paper's figure 5 shows."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from jointkd.commands.build import plain
from jointkd.commands.force_fields import find_students, fit_for, students_of, teacher_of
from jointkd.errors import ConfigError, DataError
from jointkd.evaluation.profiles import Curves
from jointkd.files.folders import folder_for, remove_if_empty
from jointkd.reports.curve_plots import REFERENCE, TEACHER
from jointkd.reports.scans import FILES, STRUCTURES, write_scan, write_structures
from jointkd.simulation.dihedrals import Dihedral
from jointkd.simulation.reference_energies import Slice, read_slices, reference_energies
from jointkd.simulation.scans import ScanOptions, energies_of, scan
from jointkd.simulation.smarts import find_dihedral
from jointkd.simulation.start import check_geometry, read_structure, report_charges, stated
from jointkd.structures.frame import CHARGES, bare

log = logging.getLogger(__name__)

OF_SCAN = ("structure", "dihedral")


def run(config: DictConfig) -> dict[str, Any]:
    """Scan a dihedral, or follow the slices of a file; table, summary, structures and plot go to `directory`."""
    options: dict[str, Any] = plain(config)
    check_mode(options)
    paths = find_students(options)
    work = along_slices if options["slices"] is not None else along_dihedral
    summary = work(config, options, paths)
    remove_if_empty(Path(HydraConfig.get().runtime.output_dir))
    return summary


def check_mode(options: Mapping[str, Any]) -> None:
    """Raise ConfigError unless there is either a structure with a dihedral, or a file of slices."""
    given = [name for name in OF_SCAN if options[name] is not None]
    if options["slices"] is not None and (given or options["reference"] is not None):
        raise ConfigError(
            f"slices and {(*given, 'reference')[0]} exclude each other",
            "leave one out: slices have structures and energies",
        )
    for name in OF_SCAN:
        if options["slices"] is None and options[name] is None:
            raise ConfigError(f"{name} is not set", "give structure=FILE dihedral=[i,j,k,l], or slices=test_dih.xyz")
    if not isinstance(options["dihedral"], list | str | None):
        raise ConfigError(
            f"dihedral={options['dihedral']} must be a list of four atoms, or a SMARTS pattern",
            "give dihedral=[i,j,k,l]",
        )


def along_dihedral(config: DictConfig, options: dict[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    """Scan the dihedral of a molecule."""
    how = ScanOptions(**{name: options[name] for name in ScanOptions.__dataclass_fields__})
    structure, charge, place = read_molecule(options["structure"], options["index"])
    atoms = options["dihedral"]
    if isinstance(atoms, str):
        atoms = find_dihedral(structure, atoms, charge, place)
    dihedral = Dihedral.of(structure, atoms, place)
    reference = {}
    if options["reference"] is not None:
        energies = reference_energies(str(options["reference"]), how.angles, dihedral, options["energy_key"])
        reference = {REFERENCE: energies}
    calculators: dict[str, Any] = {**students_of(options, paths)}
    if teacher := fit_for(teacher_of(config, paths), [structure], place):
        calculators[TEACHER] = teacher
    for calculator in calculators.values():  # refuses elements that it does not know before anything is written
        calculator.get_potential_energy(structure)
    folder = folder_for(options["directory"], FILES)
    log.info("%s of %s: %s at %d angles", dihedral.describe(structure), place, kind(how), how.steps)
    scans = scan(structure, dihedral, how, calculators)
    title = f"{dihedral.describe(structure)}, {kind(how)}"
    curves = Curves(title, how.angles, {**reference, **{name: each.energies for name, each in scans.items()}})
    owners = (
        {name: each.structures for name, each in scans.items()}
        if how.relax
        else {"": next(iter(scans.values())).structures}
    )
    write_structures(folder / STRUCTURES, owners, curves)
    said = {**described(options, paths), "dihedral_atoms": list(dihedral.atoms)}
    return write_scan(folder, [curves], (REFERENCE, TEACHER), said, "dihedral angle, degrees")


def along_slices(config: DictConfig, options: dict[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    """Energies at the structures of 3BPA's slices: the paper's figure 5."""
    slices = read_slices(str(options["slices"]), planes_of(options["planes"]), options["energy_key"])
    structures = [atoms for each in slices for atoms in each.structures]
    report_charges([atoms.info for atoms in structures], str(options["slices"]))
    calculators: dict[str, Any] = {**students_of(options, paths)}
    if teacher := fit_for(teacher_of(config, paths), structures, str(options["slices"])):
        calculators[TEACHER] = teacher
    folder = folder_for(options["directory"], FILES)
    curves = [curves_of(each, calculators) for each in slices]
    return write_scan(folder, curves, (REFERENCE, TEACHER), described(options, paths), "γ, degrees")


def curves_of(piece: Slice, calculators: Mapping[str, Any]) -> Curves:
    """The energies of a slice, by the reference and by each force field."""
    energies = {name: energies_of(piece.structures, calculator) for name, calculator in calculators.items()}
    return Curves(piece.title, piece.gammas, {REFERENCE: piece.energies, **energies})


def planes_of(given: Any) -> list[tuple[float, float]]:
    """Pairs of α and β. Raises ConfigError."""
    with suppress(TypeError, ValueError):
        planes = [(float(alpha), float(beta)) for alpha, beta in given]
        if planes and np.isfinite(planes).all():
            return planes
    raise ConfigError(f"planes={given} must be a list of pairs", "give planes=[[α,β],…] in degrees, as [[71,120]]")


def read_molecule(file: str, index: int) -> tuple[Atoms, int, str]:
    """A structure of a file by its geometry, its charge (e), and its name in messages. Raises DataError."""
    structure = read_structure(str(file), index)
    place = f"structure {index} of {file}"
    check_geometry(structure, place)
    report_charges([structure.info], place)
    if structure.constraints:
        raise DataError(f"{place} has constraints, which a scan would not keep", "remove them from the file")
    return bare(structure), round(stated(structure.info, CHARGES, 0)), place


def kind(options: ScanOptions) -> str:
    """Rigid or relaxed, in words."""
    return "relaxed" if options.relax else "rigid"


def described(options: Mapping[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    """The options as scan.json has them, with the students that were found and the name of a teacher that was given."""
    teacher = options.get("teacher")
    return {**options, "teacher": teacher["name"] if teacher else None, "students": [str(path) for path in paths]}

"""The Fourier spectrum of students' errors against their teacher, along paths through configurations."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from jointkd.commands.alignments import shifts_of
from jointkd.commands.build import plain
from jointkd.commands.force_fields import find_students, fit_for, students_of, teacher_of
from jointkd.deploy.ase import JointKD
from jointkd.errors import ConfigError, DataError
from jointkd.evaluation.error_spectra import ErrorSpectrum
from jointkd.files.folders import folder_for, remove_if_empty
from jointkd.ranges import check_integer, check_number
from jointkd.reports.curve_plots import TEACHER
from jointkd.reports.spectra import FILES, write_spectra
from jointkd.simulation.path_errors import Samples, errors_along, samples_of
from jointkd.simulation.paths import Path as Way
from jointkd.simulation.paths import PathOptions, draw_paths
from jointkd.simulation.reference_energies import read_structures
from jointkd.simulation.start import check_geometry, report_charges
from jointkd.structures.frame import bare

log = logging.getLogger(__name__)


def run(config: DictConfig) -> dict[str, Any]:
    """Sample errors along paths; table, summary and plot of their spectrum go to `directory`."""
    options: dict[str, Any] = plain(config)
    if options["max_rise"] is not None:
        check_number("max_rise", options["max_rise"], "eV")
    how = PathOptions(**{name: options[name] for name in PathOptions.__dataclass_fields__})
    check_integer("count", options["count"])
    check_integer("first_high", options["first_high"], most=how.steps // 2)
    folders = find_students(options)
    structures, places = read_some(str(options["structures"]), options["count"])
    students = students_of(options, folders)
    teacher = fit_for(teacher_of(config, folders), structures, str(options["structures"]))
    if teacher is None:
        raise ConfigError(
            "a spectrum is that of errors against a teacher, and there is none", "name one with teacher=…"
        )
    ways = draw_paths(structures, places, how)
    for student in students.values():  # refuses elements that it does not know before anything is written
        student.get_potential_energy(ways[0].structures[0])
    fitted = shifts_of(
        folders,
        [student.origin for student in students.values()],
        [student.references for student in students.values()],
        teacher.teacher.identity,
        options["data"],
        options["label"]["path"],
        options["trust"],
    )
    shifts = dict(zip(students, fitted, strict=True))
    folder = folder_for(options["directory"], FILES)
    log.info("%d paths, such as %s; %d structures along each", len(ways), ways[0].title, how.steps)
    ways, of_teacher = below(ways, samples_of(ways, {TEACHER: teacher})[TEACHER], options["max_rise"])
    sampled = samples_of(ways, students)
    spectra = {
        name: spectrum_of(ways, sampled[name], of_teacher, student, shifts[name]) for name, student in students.items()
    }
    described = {**options, "teacher": teacher.teacher.identity.name, "students": [str(each) for each in folders]}
    aligned = all(shift is not None for shift in shifts.values())
    summary = write_spectra(folder, spectra, ways[0].unit, options["first_high"], aligned, described)
    remove_if_empty(Path(HydraConfig.get().runtime.output_dir))
    return summary


def below(ways: Sequence[Way], samples: Sequence[Samples], limit: float | None) -> tuple[list[Way], list[Samples]]:
    """The paths along which the teacher's energy rises by no more than a limit (eV). Raises DataError."""
    kept = [
        (way, each)
        for way, each in zip(ways, samples, strict=True)
        if np.isfinite(each.energies).all() and (limit is None or np.ptp(each.energies) <= limit)
    ]
    if len(kept) < len(ways):
        log.info(
            "%d of %d paths along which the teacher's energy rises by more than max_rise=%s eV are left out",
            len(ways) - len(kept),
            len(ways),
            limit,
        )
    if not kept:
        raise DataError(
            f"along every path the teacher's energy rises by more than max_rise={limit} eV",
            "raise max_rise, or give other structures or a smaller length",
        )
    return [way for way, _ in kept], [each for _, each in kept]


def spectrum_of(
    ways: Sequence[Way],
    student: Sequence[Samples],
    teacher: Sequence[Samples],
    calculator: JointKD,
    shift: Mapping[int, float] | None,
) -> ErrorSpectrum:
    """The spectrum of one student's errors over all paths."""
    conservative = calculator.model.conservative
    return ErrorSpectrum.of(
        [
            errors_along(way, ours, theirs, calculator.references, shift, conservative)
            for way, ours, theirs in zip(ways, student, teacher, strict=True)
        ]
    )


def read_some(file: str, count: int) -> tuple[list[Atoms], list[str]]:
    """So many structures of a file, evenly spread, with their names in messages; those of one atom are left out."""
    every = [(atoms, f"structure {place} of {file}") for place, atoms in enumerate(read_structures(file, "structures"))]
    several = [(atoms, place) for atoms, place in every if len(atoms) > 1]
    if not several:
        raise DataError(f"structures={file} has only structures of one atom", "give others, such as supercells")
    if left_out := len(every) - len(several):
        log.warning("%d of %d structures of %s are left out: they have one atom", left_out, len(every), file)
    places = np.linspace(0, len(several) - 1, min(count, len(several))).round().astype(int)
    chosen = [several[place] for place in places]
    for atoms, place in chosen:
        check_geometry(atoms, place)
    report_charges([atoms.info for atoms, _ in chosen], file)
    return [bare(atoms) for atoms, _ in chosen], [place for _, place in chosen]

"""Grade a student before it is used."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ase import Atoms
from hydra.utils import instantiate
from omegaconf import DictConfig

from jointkd.acceptance.accept import Graded, grade
from jointkd.acceptance.options import GROUPS, AcceptanceOptions
from jointkd.acceptance.outputs import PAGE, check_free, write_results
from jointkd.acceptance.stability import NUMBER
from jointkd.commands.build import plain, teacher_here
from jointkd.commands.recorded_teacher import REMEDY, build_recorded
from jointkd.commands.run_record import RunRecord
from jointkd.commands.run_structures import tested_structures
from jointkd.deploy.package import is_package
from jointkd.errors import ConfigError, NotAccepted, UserError
from jointkd.files.atomic import file_sha256
from jointkd.runtime import keep_freed_memory
from jointkd.simulation.start import prepared_starts, read_structure
from jointkd.students.student_file import locate_student
from jointkd.teachers.base import Teacher
from jointkd.teachers.calculator import frame_of
from jointkd.teachers.charges import check_charges

log = logging.getLogger(__name__)


def run(config: DictConfig) -> Graded:
    """Grade the student and write the result. Raises NotAccepted where a gate is not passed, ConfigError, DataError."""
    keep_freed_memory()
    path, groups = Path(config.run), {name: instantiate(config[name], _convert_="all") for name in GROUPS}
    options = AcceptanceOptions(**groups, seed=config.seed, device=config.device)
    if is_package(path):
        raise ConfigError(f"run={path} is an exported package", "give the student's file or the folder of its run")
    folder = Path(config.directory).expanduser() if config.directory else path if path.is_dir() else path.parent
    check_free(folder, config.overwrite)
    structures, source = structures_of(config, path)
    teacher, said = teacher_of(config, path, structures)
    graded = grade(path, structures, options, teacher, plain(config.trust))
    facts = {
        "student": f"{path}, sha256 {file_sha256(locate_student(path))}",
        "structures": f"{len(structures)} structures of {source}",
        "teacher": said,
        "options": asdict(options),
    }
    write_results(folder, graded, facts)
    log.info("written to %s", folder / PAGE)
    failed = [gate.name for gate in graded.gates if not gate.passed]
    if failed:
        raise NotAccepted(
            f"{path} fails {len(failed)} of {len(graded.gates)} gates: {', '.join(failed)}",
            f"see {folder / PAGE}; docs/acceptance.md says what helps",
        )
    return graded


def structures_of(config: DictConfig, path: Path) -> tuple[list[Atoms], str]:
    """The structures from which dynamics start, and where they are from. Raises ConfigError, DataError."""
    if config.structures is not None:
        read = read_structure(config.structures, ":")
        place = str(config.structures)
    elif path.is_dir():
        read = tested_structures(RunRecord.read(path), plain(config.data), plain(config.trust))
        place = f"the test split of {path}"
    else:
        raise ConfigError(f"run={path} is a file and has no test structures", "give structures=FILE")
    starts = prepared_starts(dict(enumerate(read)), place)
    for number, atoms in starts.items():
        atoms.info[NUMBER] = number
    return list(starts.values()), place


def teacher_of(config: DictConfig, path: Path, structures: Sequence[Atoms]) -> tuple[Teacher | str | None, str]:
    """The teacher, why it cannot judge, or None where it is left out; and a text that says which."""
    try:
        if config.get("teacher") is not None:
            teacher = teacher_here(config)
            if teacher is None:
                return None, "no teacher (teacher=none), whose gates are left out"
        elif path.is_dir():
            teacher = build_recorded(RunRecord.read(path), plain(config.trust))
        else:
            raise ConfigError("a student's file does not say how its teacher is built", REMEDY)
        check_charges([frame_of(atoms) for atoms in structures], teacher)
    except UserError as error:
        log.warning("the teacher's gates are not measured, and so not passed: %s", error)
        return f"{error.problem}; {error.remedy}", f"no teacher: {error.problem}"
    return teacher, f"teacher {teacher.identity.name}"

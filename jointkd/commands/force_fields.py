"""The students, and the teacher, that a command compares on the same structures: as named ASE calculators."""

import logging
from collections.abc import Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.data import chemical_symbols

from jointkd.commands.build import plain, teacher_here
from jointkd.commands.recorded_teacher import recorded_teacher
from jointkd.deploy.ase import JointKD
from jointkd.deploy.package import is_package, read_description
from jointkd.errors import ConfigError, DataError, TeacherError
from jointkd.files.hub import HubAddress
from jointkd.files.run_files import STUDENT
from jointkd.reports.runs import ORDER
from jointkd.students.student_file import locate_student, read_student
from jointkd.students.student_names import distinct_names
from jointkd.teachers.base import log_identity
from jointkd.teachers.calculator import TeacherCalculator, frame_of
from jointkd.teachers.charges import is_charged

log = logging.getLogger(__name__)


def find_students(config: Mapping[str, Any]) -> list[Path]:
    """The folders and files of the students that `run` and `runs` name, each once. Raises ConfigError, DataError.

    run: a folder, a file, a pattern with *, or a list of these; runs: a folder in which runs are looked for.
    """
    given = plain(config["run"])
    entries = [given] if isinstance(given, str | int) else list(given or ())
    found = [path for entry in entries for path in matches(str(entry))]
    if config["runs"] is not None:
        below = sorted(file.parent for file in Path(str(config["runs"])).expanduser().rglob(STUDENT))
        if not below:
            raise DataError(f"runs={config['runs']} holds no finished runs", "give a folder that training wrote")
        found += below
    if not found:
        raise ConfigError("run is not set", "give run=FOLDER, a student's file or a pattern, or runs=FOLDER of several")
    distinct = list({locate_student(path).resolve(): path for path in found}.values())
    if len(distinct) < len(found):
        log.info(
            "%d of %d names are those of other students, which are taken once", len(found) - len(distinct), len(found)
        )
    return sorted(distinct, key=lambda path: position(read_origin(path)))


def position(origin: Mapping[str, Any]) -> tuple[int, str]:
    """Where a student stands among others: by its method, as in the paper's tables."""
    known, method = ORDER["method"], str(origin.get("method", ""))
    return (known.index(method) if method in known else len(known)), method


def read_origin(path: Path) -> dict[str, Any]:
    """What a student's file or package says of where its weights come from."""
    return (read_description(path).saved if is_package(path) else read_student(path)).origin


def matches(entry: str) -> list[Path]:
    """The folders and files that one entry of `run` names. Raises DataError where there is none."""
    if HubAddress.of(Path(entry)):
        return [Path(entry)]
    paths = [Path(each) for each in sorted(glob(str(Path(entry).expanduser())))]
    chosen = is_students if len(paths) > 1 else Path.is_file  # one file that is no student's is refused when it is read
    students = [path for path in paths if (path / STUDENT).exists() or chosen(path)]
    if not students:
        raise DataError(
            f"run={entry} is {'not there' if not paths else 'no folder of a finished run'}",
            "give the folder of a finished run, a student's file, or a pattern with * in quotes",
        )
    return list({locate_student(path).resolve(): path for path in students}.values())


def is_students(path: Path) -> bool:
    """Whether a file among those that a pattern names is a student's: by its suffix, or a package."""
    return path.is_file() and (path.suffix == Path(STUDENT).suffix or is_package(path))


def students_of(config: Mapping[str, Any], paths: Sequence[Path]) -> dict[str, JointKD]:
    """The students as calculators by names that tell them apart; in float64, or as a package was made."""
    trust = plain(config["trust"])
    built = [JointKD(path, config["device"], None if is_package(path) else "float64", trust) for path in paths]
    return dict(zip(distinct_names(paths, [each.origin for each in built]), built, strict=True))


def teacher_of(config: Any, students: Sequence[Path]) -> TeacherCalculator | None:
    """The teacher that `teacher=` names; else the one that the students' runs record, if it can be built here."""
    if "teacher" in config:
        built = teacher_here(config)
    else:
        built = recorded_teacher([path if path.is_dir() else path.parent for path in students], plain(config["trust"]))
        if built is not None:
            log_identity(built.identity)
    return None if built is None else TeacherCalculator(built)


def fit_for(calculator: TeacherCalculator | None, structures: Sequence[Atoms], place: str) -> TeacherCalculator | None:
    """The teacher, or None with a line where it does not know an element or takes no charge that structures state."""
    if calculator is None:
        return None
    identity = calculator.teacher.identity
    unknown = sorted({z for atoms in structures for z in atoms.numbers.tolist()} - set(identity.elements))
    if unknown:
        log.warning(
            "the teacher %s is left out: it does not know %s of %s", identity.name, chemical_symbols[unknown[0]], place
        )
        return None
    try:
        charged = [frame for frame in map(frame_of, structures) if is_charged(frame)]
        if charged:
            calculator.labels_of(charged[0])  # some teachers find out only then that they take none
    except TeacherError as error:
        log.warning("the teacher is left out: %s", error.problem)
        return None
    return calculator

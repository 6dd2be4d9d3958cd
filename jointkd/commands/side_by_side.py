"""Several students on a file, and a teacher, from their configuration."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from jointkd.commands.alignments import shifts_of
from jointkd.commands.build import teacher_here
from jointkd.commands.force_fields import find_students, read_origin
from jointkd.errors import ConfigError
from jointkd.evaluation.against_teacher import AgainstTeacher
from jointkd.evaluation.file_evaluation import FileEvaluation
from jointkd.evaluation.predictions import Predictor
from jointkd.evaluation.side_by_side import ForceField, SideBySide, compare_on_file
from jointkd.labelling.predictor import TeacherPredictor
from jointkd.labels.directions import check_rows
from jointkd.reports.curve_plots import TEACHER
from jointkd.students.student_names import distinct_names
from jointkd.teachers.base import Teacher

OF_ONE = ("output", "plot", "training")
OF_TEACHER = {"rows": 0, "atomic_energies": False}  # and their values where nothing is compared


def side_by_side(config: DictConfig, options: Mapping[str, Any], evaluation: FileEvaluation) -> SideBySide:
    """Several students on a file, the one without a teacher first, and the teacher that `teacher=` names."""
    for name in OF_ONE:
        if options.get(name) is not None:
            raise ConfigError(f"{name}={options[name]} is of one student", f"give one run, or leave out {name}")
    paths = find_students({**options, "runs": None})
    names = distinct_names(paths, [read_origin(path) for path in paths])
    rows = options["rows"], evaluation.seed
    students = {
        f"{name} (student)" if name == TEACHER else name: Predictor(str(path), options["trust"], *rows)
        for name, path in zip(names, paths, strict=True)
    }
    teacher = teacher_here(config) if "teacher" in config else None
    if teacher is None:
        return compare_on_file(evaluation, students)
    zeros = zeros_of(students, paths, teacher, options) if options["atomic_energies"] else {}
    force_fields: dict[str, ForceField] = {**students, TEACHER: TeacherPredictor(teacher, *rows)}
    return compare_on_file(evaluation, force_fields, AgainstTeacher(TEACHER, zeros))


def check_asked(options: Mapping[str, Any], beside_teacher: bool) -> None:
    """Raise ConfigError where a comparison with a teacher is asked for that cannot be made."""
    options = {**OF_TEACHER, **options}
    check_rows("rows", options["rows"])
    if not isinstance(options["atomic_energies"], bool):
        raise ConfigError(f"atomic_energies={options['atomic_energies']} must be true or false", "give one of them")
    asked = [f"{name}={options[name]}".lower() for name, none in OF_TEACHER.items() if options[name] != none]
    if asked and not beside_teacher:
        raise ConfigError(f"{asked[0]} asks for a comparison with a teacher", "give teacher=… and structures=FILE")


def zeros_of(
    students: Mapping[str, Predictor], paths: Sequence[Path], teacher: Teacher, options: Mapping[str, Any]
) -> dict[str, dict[int, float]]:
    """The zeros of `AgainstTeacher`, of the students whose run's data and labels are here.

    Raises ConfigError where the teacher has no atomic energies, or there is no such student.
    """
    if not teacher.identity.atomic_energies:
        raise ConfigError(
            f"atomic_energies=true, and the teacher {teacher.identity.name} has none", "leave out atomic_energies"
        )
    references = [student.references for student in students.values()]
    shifts = shifts_of(
        paths,
        [read_origin(path) for path in paths],
        references,
        teacher.identity,
        options["data"],
        options["label"]["path"],
        options["trust"],
    )
    zeros = {
        name: {z: energy - shift.get(z, 0.0) for z, energy in own.items()}
        for name, own, shift in zip(students, references, shifts, strict=True)
        if shift is not None
    }
    if not zeros:
        raise ConfigError(
            "atomic_energies=true, and no student can be brought to one zero of energy with the teacher, as said above",
            "give label.path=FOLDER with its labels of the training and data.path=FILE, or leave out atomic_energies",
        )
    return zeros

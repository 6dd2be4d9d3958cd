"""The teacher that runs record, which is built where their folders name only data."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jointkd.commands.run_record import RunRecord
from jointkd.errors import TeacherError, UserError, first_line
from jointkd.files.run_files import CONFIGURATION
from jointkd.teachers.base import Teacher
from jointkd.teachers.spec import TARGET, TeacherSpec
from jointkd.trust import Consent, trusted_names

log = logging.getLogger(__name__)

FOUNDATION = "jointkd.teachers.mace.foundation"
MACE_FILE = "jointkd.teachers.mace.from_checkpoint"
CALCULATOR = "jointkd.teachers.ase.from_calculator"
STUDENT = "jointkd.teachers.student.from_run"
PRIVATE = ("_convert_", "_recursive_", "python")  # not arguments of a teacher
REMEDY = "name one with teacher=…, or leave it out with teacher=none"


def recorded_teacher(folders: Sequence[Path], trust: Consent) -> Teacher | None:
    """The teacher of the folders that are those of runs; None, with a line that says why, where there is none to build.

    trust: import paths of calculators of your own that the runs may name.
    """
    records = [RunRecord.read(folder) for folder in folders if (folder / CONFIGURATION).exists()]
    with_teacher = [record for record in records if record.teacher is not None]
    if not with_teacher:
        log.info("no teacher: none of the students has the folder of a run that records one; %s", REMEDY)
        return None
    names = sorted({f"{each.teacher.name} {each.teacher.checkpoint[:8]}" for each in with_teacher if each.teacher})
    if len(names) > 1:
        log.info("no teacher: the runs record several (%s); %s", ", ".join(names), REMEDY)
        return None
    try:
        return build_recorded(with_teacher[0], trust)
    except TeacherError as error:
        log.info("%s; %s", error.problem, error.remedy)
        return None


def build_recorded(record: RunRecord, trust: Consent) -> Teacher:
    """The teacher of a run. Raises TeacherError where it had none, or where it cannot be built here."""
    if record.teacher is None:
        raise TeacherError(f"{record.folder} records no teacher", REMEDY)
    options, reason = checked_options(record, trust)
    if reason:
        raise TeacherError(f"the teacher {record.teacher.name} of the run is left out: {reason}", REMEDY)
    try:
        teacher = TeacherSpec(options.pop(TARGET), options).build()
    except (UserError, TypeError, ValueError) as error:
        problem = f"the teacher {record.teacher.name} of the run is left out: {first_line(error)}"
        raise TeacherError(problem, REMEDY) from error
    if teacher.identity.checkpoint != record.teacher.checkpoint:
        log.warning(
            "the teacher %s here is another one than that of the runs (its weights differ)", teacher.identity.name
        )
    return teacher


def checked_options(record: RunRecord, trust: Consent) -> tuple[dict[str, Any], str]:
    """What builds the recorded teacher, and why it must not be built, an empty text where it may be.

    A folder may come from elsewhere, so only what runs no code of its author is built without consent.
    """
    options = {name: value for name, value in record.part("teacher").items() if name not in PRIVATE}
    target, names = options.get(TARGET), trusted_names(trust)
    if target == FOUNDATION:
        return options, "it is a model from a URL" if options.get("url") else nested(options)
    if target == MACE_FILE:
        place = record.find(str(options.get("checkpoint")))
        if place is None:
            return options, f"{options.get('checkpoint')} is not here"
        options["checkpoint"] = str(place)
        return options, nested(options) if place.is_dir() else f"{place} is a pickle, which may run code of its author"
    if target == STUDENT:
        place = record.find(str(options.get("run")))
        options |= {"run": str(place), "trust": sorted(names)}
        return options, nested(options) if place else "its file is not here"
    if target == CALCULATOR:
        path = options.get("calculator")
        return options, "" if path in names else f"it is code of its own, which trust={path} admits"
    return options, "it is of a kind that is not built from what a run records"


def nested(options: Mapping[str, Any]) -> str:
    """Why options must not be passed on: they name other objects to be built. Empty if they do not."""
    return "its options name other objects" if any(isinstance(value, Mapping) for value in options.values()) else ""

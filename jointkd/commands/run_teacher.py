"""The teacher that a run recorded, where it can be built without running code of a file."""

from pathlib import Path
from typing import Any

from jointkd.commands.run_record import RunRecord
from jointkd.errors import TeacherError
from jointkd.teachers.spec import TARGET, TeacherSpec

PATHS = ("checkpoint", "run")  # options that name a file
ADVICE = "name the teacher with teacher=…, or leave its gates out with teacher=none"


def recorded_teacher(record: RunRecord) -> TeacherSpec:
    """How the teacher of a run is built. Raises TeacherError where the user must name it.

    What a run's folder says is not an instruction to run code: only teachers of jointkd are built, of weights that are
    plain data (directories of plain weights, students) or that mace-torch knows by name.
    """
    recorded: dict[str, Any] = record.part("teacher")
    name, target = recorded.get("name"), recorded.pop(TARGET, None)
    if target is None:
        raise TeacherError(f"{record.folder} was trained without a teacher", ADVICE)
    options = {key: value for key, value in recorded.items() if key not in ("python", "_convert_", "_recursive_")}
    for option in PATHS:
        if isinstance(options.get(option), str):
            options[option] = str(record.find(options[option]) or options[option])
    plain = {
        "jointkd.teachers.mace.from_checkpoint": Path(str(options.get("checkpoint"))).is_dir(),
        "jointkd.teachers.student.from_run": not options.get("trust"),
        "jointkd.teachers.mace.foundation": options.get("url") is None,
    }
    if not plain.get(str(target)):
        raise TeacherError(f"the teacher {name} of {record.folder} is code, or its weights are not here", ADVICE)
    return TeacherSpec(str(target), options)

"""The facts of a model card, as they are recorded in a student's file and in the folder of its run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jointkd.deploy.model_card import CardFacts, Gate, TeacherFacts
from jointkd.files.atomic import file_sha256
from jointkd.files.json_objects import mapping, read_json, split_beside
from jointkd.files.run_files import ACCEPTANCE, SUMMARY
from jointkd.students.base import Student
from jointkd.students.student_file import SavedStudent

OF_RUN = ("data", "seed", "steps", "test")  # in which a summary must agree with the student's file
REFERENCE = {"data": "those of the data set; its level of theory is not recorded", "teacher": "the teacher's"}


def facts_of(
    saved: SavedStudent,
    student: Student,
    summary: Mapping[str, Any] | None = None,
    acceptance: Mapping[str, Any] | None = None,
    origin: Mapping[str, str] | None = None,
) -> CardFacts:
    """The facts of a student. summary: of its run; acceptance: of its acceptance test; origin: further lines."""
    of_name = [str(saved.origin[entry]) for entry in ("data", "student", "method") if saved.origin.get(entry)]
    recorded = {**saved.origin, **(summary or {})}
    data = mapping(recorded.get("trained_on"))
    from_teacher = numbers(data.get("from_teacher", recorded.get("from_teacher")))
    weights = [weight.dtype for weight in saved.weights.values() if weight.is_floating_point()]
    return CardFacts(
        name="_".join(of_name) or "student",
        architecture=str(saved.config.get("_target_", "")).rpartition(".")[2],
        parameters=sum(parameter.numel() for parameter in student.parameters()),
        precision=str(weights[0]).removeprefix("torch.") if weights else "without weights",
        elements=tuple(sorted(saved.reference_energies)),
        cutoff=student.cutoff,
        hops=getattr(student, "hops", None),
        conservative=student.conservative,
        max_neighbors=student.max_neighbors,
        repulsion=getattr(student, "repulsion", None),
        imported_from=imported_from(recorded),
        method=recorded.get("method"),
        seed=recorded.get("seed"),
        steps=recorded.get("steps"),
        data=recorded.get("data"),
        structures={split: count for split, count in mapping(data.get("structures")).items() if isinstance(count, int)},
        contents=data.get("contents"),
        reference=REFERENCE.get(str(data.get("reference"))),
        from_teacher=from_teacher,
        teacher_shares=numbers(recorded.get("teacher_shares")),
        energy_zero=data.get("energy_zero"),
        undetermined=saved.undetermined,
        has_references=bool(saved.reference_energies),
        teacher=teacher_of(recorded),
        taught=(recorded.get("method"), data.get("reference")) != ("none", "data") or any(from_teacher.values()),
        test=numbers(recorded.get("test")),
        teacher_test=numbers(recorded.get("teacher_test")),
        gates=gates_of(acceptance),
        accepted=None if acceptance is None else bool(acceptance.get("passed")),
        origin={**origin_lines(recorded), **(origin or {})},
    )


def recorded_beside(student: Path, saved: SavedStudent) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The summary of a student's run and its acceptance test, where they lie beside its file and are of it.

    A summary without the numbers of structures gets them from the run's split.json.
    """
    summary = read_json(student.with_name(SUMMARY))
    if summary is not None and any(summary.get(name) != saved.origin.get(name) for name in OF_RUN):
        summary = None
    counts = {split: len(part) for split, part in split_beside(student).items()}
    if summary is not None and counts and "trained_on" not in {**saved.origin, **summary}:
        summary["trained_on"] = {"structures": counts}
    acceptance = read_json(student.with_name(ACCEPTANCE))
    if acceptance is not None and not is_of(acceptance, student, summary):
        acceptance = None
    return summary, acceptance


def is_of(acceptance: Mapping[str, Any], student: Path, summary: Mapping[str, Any] | None) -> bool:
    """Whether an acceptance test is of a student: by its checksum or, where it names none, by its run's summary."""
    tested = str(acceptance.get("student", ""))
    return file_sha256(student) in tested if "sha256" in tested else summary is not None


def teacher_of(recorded: Mapping[str, Any]) -> TeacherFacts | None:
    """The teacher of a run, None where it had none, or where that is not recorded."""
    card, name = recorded.get("teacher_card"), recorded.get("teacher")
    if not isinstance(card, dict):
        return None
    licence, level, citation = (str(card.get(key) or "") for key in ("licence", "level_of_theory", "citation"))
    return TeacherFacts(str(name or ""), licence, level, citation)


def gates_of(acceptance: Mapping[str, Any] | None) -> tuple[Gate, ...] | None:
    """The criteria of an acceptance test."""
    if acceptance is None:
        return None
    found = acceptance.get("gates")
    return tuple(gate_of(gate) for gate in found if isinstance(gate, dict)) if isinstance(found, list) else ()


def gate_of(gate: Mapping[str, Any]) -> Gate:
    """One criterion, with the unit behind its numbers."""
    unit = str(gate.get("unit") or "")
    value, threshold = (with_unit(gate.get(key), unit) for key in ("value", "threshold"))
    return Gate(str(gate.get("name") or ""), bool(gate.get("passed")), value or "not measured", threshold)


def with_unit(value: object, unit: str) -> str:
    """A number with three digits and its unit; other values as they are."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.3g} {unit}".rstrip()
    return "" if value is None else str(value)


def origin_lines(recorded: Mapping[str, Any]) -> dict[str, str]:
    """Where the weights come from."""
    lines = {"revision of jointkd": recorded.get("revision")}
    if imported_from(recorded):
        lines = {"checkpoint": recorded.get("file"), "SHA-256 of the checkpoint": recorded.get("sha256")}
    return {name: str(value) for name, value in lines.items() if value}


def imported_from(recorded: Mapping[str, Any]) -> str | None:
    """The program that trained a student which was imported; None for jointkd."""
    program = recorded.get("format")
    return program if isinstance(program, str) and program != "jointkd" else None


def numbers(value: object) -> dict[str, float]:
    """The numbers in a dictionary of a file."""
    return {name: float(each) for name, each in mapping(value).items() if isinstance(each, int | float)}

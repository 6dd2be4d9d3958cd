"""The shifts of a teacher's atomic energies that runs were trained with, fitted again from their data and labels."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jointkd.commands.run_record import RunRecord
from jointkd.commands.run_sources import data_of, labels_of, prepared_set
from jointkd.data.references import References
from jointkd.errors import UserError, first_line
from jointkd.evaluation.evaluated_split import EvaluatedSplit
from jointkd.labels.records import TeacherIdentity

log = logging.getLogger(__name__)


def shifts_of(
    paths: Sequence[Path],
    origins: Sequence[Mapping[str, Any]],
    references: Sequence[Mapping[int, float]],
    teacher: TeacherIdentity,
    data: Mapping[str, str | None],
    labels: str | None,
    trust: Any,
) -> list[dict[int, float] | None]:
    """The shift for each student, eV by atomic number; None, with a line that says why, where it cannot be found.

    It is fitted once for students of one data set, from the first run whose data and labels of this teacher are here: a
    run without a teacher takes it from others. paths: folders of runs, or files in them; origins, references: what the
    students' files say of where they are from, and their reference energies; data: where the data of the runs are now
    (path, source, prepared); labels: where the labels are now.
    """
    sets = [
        (str(origin.get("data")), tuple(sorted(own.items()))) for origin, own in zip(origins, references, strict=True)
    ]
    found: dict[Any, dict[int, float]] = {}
    reasons: dict[Path, str] = {}
    for path, of, own in zip(paths, sets, references, strict=True):
        if of in found:
            continue
        try:
            found[of] = shift_of(path if path.is_dir() else path.parent, teacher, own, data, labels, trust)
        except UserError as error:
            reasons[path] = first_line(error)
    for path, of in zip(paths, sets, strict=True):
        if of not in found:
            log.info("%s: teacher and student are not brought to one zero of energy: %s", path, reasons[path])
    return [found.get(of) for of in sets]


def shift_of(
    folder: Path,
    teacher: TeacherIdentity,
    references: Mapping[int, float],
    data: Mapping[str, str | None],
    labels: str | None,
    trust: Any,
) -> dict[int, float]:
    """The shift of one run. Raises UserError where its data or this teacher's labels are not here."""
    record = RunRecord.read(folder)
    options = data_of(record, data, trust)
    store = labels_of(record, options, labels)
    if store is None:
        raise UserError("the labels of its teacher are not here", "")
    if store.teacher.checkpoint != teacher.checkpoint:
        raise UserError(f"its labels are of another teacher than {teacher.name}", "")
    with TemporaryDirectory(prefix="jointkd-") as temporary:
        split = EvaluatedSplit(
            source=prepared_set(record, options, data, Path(temporary)),
            test=record.keys["test"],
            train=record.keys["train"],
            references=References(dict(references), "the student's file"),
            store=store,
            rows=0,
            adopted=options.reference == "teacher",
            batch_size=options.batch_size,
            seed=options.seed,
        )
        alignment = split.alignment()
    if alignment is None:
        raise UserError("the labels of its training split are not here, or have no atomic energies", "")
    return dict(alignment.shift)

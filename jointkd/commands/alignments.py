"""The shift of a teacher's atomic energies that a run was trained with, fitted again from its data and labels."""

import logging
from collections.abc import Mapping
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


def shift_of(
    folder: Path,
    teacher: TeacherIdentity,
    references: Mapping[int, float],
    data: Mapping[str, str | None],
    labels: str | None,
    trust: Any,
) -> dict[int, float] | None:
    """eV by atomic number; None, with a line that says why, where the run's data or this teacher's labels are not here.

    references: the reference energies of its student; data: where the run's data are now (path, source, prepared);
    labels: where its labels are now.
    """
    try:
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
    except UserError as error:
        log.info("%s: teacher and student are not brought to one zero of energy: %s", folder, first_line(error))
        return None
    return dict(alignment.shift) if alignment else None

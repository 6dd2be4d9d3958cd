"""Several students, and their teacher, on the same file: errors side by side, and whether they differ."""

import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from jointkd.data.screening import Rejected
from jointkd.errors import DataError
from jointkd.evaluation.against_teacher import NO_TEACHER, AgainstTeacher
from jointkd.evaluation.errors import HEADLINE, LEVELS, Errors, Metrics
from jointkd.evaluation.file_errors import OF_TRAINING, WARNING, said_counts, said_estimates
from jointkd.evaluation.file_evaluation import FileEvaluation, report_missing, watched
from jointkd.evaluation.predictions import Predicted
from jointkd.structures.frame import Frame

log = logging.getLogger(__name__)

Value = TypeVar("Value")
Difference = tuple[float, float, float]  # and the ends of its 95 % interval
OF_THE_ZERO = ("energy_mae", "energy_rmse")  # beginnings of metrics that depend on the zero of energy


class ForceField(Protocol):
    """What predicts structures as they are read: `Predictor`, or `TeacherPredictor`."""

    @property
    def has_zero(self) -> bool:
        """Whether total energies can be compared with those of the file, not only relative ones."""

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Predicted | Rejected]:
        """An outcome for every frame, in their order."""

    def estimates(self, frame: Frame) -> bool:
        """Whether the total energy of a composition is only an estimate."""

    def trained_on(self, frame: Frame) -> bool:
        """Whether a structure is one of its training."""


@dataclass(frozen=True)
class SideBySide:
    """Errors of several force fields on the structures that all of them can predict; units are in the names."""

    counts: dict[str, int]  # of structures, atoms, labels
    set_aside: dict[str, int]  # structures that not all can predict, by who cannot, and why
    estimates: dict[str, int]  # by force field: structures whose total energy may be off by eV per atom
    metrics: dict[str, Metrics]  # by force field
    intervals: dict[str, dict[str, tuple[float, float]]]  # of the metrics: 95 %, by a bootstrap over structures
    differences: dict[str, dict[str, Difference]]  # of the metrics from those of the first one, by a paired bootstrap


def compare_on_file(
    options: FileEvaluation, force_fields: Mapping[str, ForceField], teacher: AgainstTeacher | None = None
) -> SideBySide:
    """Predict every structure of a file by each force field, and return and log the errors.

    Of force fields without the zero of the file's energies only relative energies are compared.
    teacher: the one of them with which atomic energies and Hessian rows are compared, where it is asked for.
    Raises DataError where no structure can be predicted by all.
    """
    errors = {name: Errors(options.hull) for name in force_fields}
    set_aside: Counter[str] = Counter()
    estimates: Counter[str] = Counter()
    trained = 0
    read = itertools.tee(options.frames(), len(force_fields))
    streams = [predict(frames) for predict, frames in zip(force_fields.values(), read, strict=True)]
    for outcomes in watched(zip(*streams, strict=True), options.structures):
        by_name = dict(zip(force_fields, outcomes, strict=True))
        predicted = {name: each for name, each in by_name.items() if isinstance(each, Predicted)}
        refused = {name: each.reason for name, each in by_name.items() if isinstance(each, Rejected)}
        if refused:
            set_aside["; ".join(f"{name}: {reason}" for name, reason in refused.items())] += 1
            continue
        trained += any(field.trained_on(outcomes[0].frame) for field in force_fields.values())
        for name, each in predicted.items():
            errors[name].add(each, NO_TEACHER if teacher is None else teacher.sums(name, predicted))
            estimates[name] += force_fields[name].estimates(each.frame)
    first, *others = errors
    if not len(errors[first]):
        ((reason, count),) = set_aside.most_common(1)
        raise DataError(
            f"no structure of structures={options.structures} can be predicted by all, {count} because of {reason}",
            "give structures that all of them can predict",
        )
    if not any(known.metrics() for known in errors.values()):
        raise DataError(
            f"no structure of structures={options.structures} has energy or forces under data.energy_key="
            f"{options.energy_key} and data.forces_key={options.forces_key}, so there is nothing to compare",
            "name the keys, or give one run, which predicts them",
        )
    drawn = {name: known.replicates(options.seed) for name, known in errors.items()}
    metrics = {name: compared(known.metrics(), force_fields[name]) for name, known in errors.items()}
    intervals = {name: compared(known.intervals(drawn[name]), force_fields[name]) for name, known in errors.items()}
    certain = {name: {metric: metrics[name][metric] for metric in intervals[name]} for name in errors}
    counts = [known.counts() for known in errors.values()]
    result = SideBySide(
        counts={**{name: max(each[name] for each in counts) for name in counts[0]}, OF_TRAINING: trained},
        set_aside=dict(set_aside),
        estimates={name: count for name, count in estimates.items() if count},
        metrics=metrics,
        intervals=intervals,
        differences={name: differences(certain[first], certain[name], drawn[first], drawn[name]) for name in others},
    )
    report_missing(result.counts, options)
    log.info("%s", described(result, options.structures))
    return result


def compared(found: dict[str, Value], force_field: ForceField) -> dict[str, Value]:
    """What can be compared of a force field's metrics."""
    return {name: each for name, each in found.items() if force_field.has_zero or not name.startswith(OF_THE_ZERO)}


def differences(
    first: Metrics, other: Metrics, drawn: list[Metrics], drawn_other: list[Metrics]
) -> dict[str, Difference]:
    """How far the metrics of the other are from those of the first, with their 95 % intervals.

    drawn: the metrics of the same samples of structures; some may lack a metric.
    """
    found = {}
    for name in [each for each in first if each in other]:
        apart = [
            two[name] - one[name] for one, two in zip(drawn, drawn_other, strict=True) if name in one and name in two
        ]
        low, high = np.percentile(apart, LEVELS).tolist()
        found[name] = (other[name] - first[name], low, high)
    return found


def described(result: SideBySide, structures: str) -> str:
    """The counts, and two tables: the metrics, and how far they are from those of the first."""
    lines = [f"{structures}, what all can predict: {said_counts(result.counts)}"]
    lines += [f"  set aside: {count}, because of {reason}" for reason, count in result.set_aside.items()]
    lines += [f"  {name}: {said_estimates(count)}" for name, count in result.estimates.items()]
    if result.counts[OF_TRAINING]:
        lines.append(f"  {WARNING}")
    first, *others = result.metrics
    shown = [name for name in HEADLINE if any(name in each for each in result.metrics.values())]
    values = {name: [number(each.get(name)) for each in result.metrics.values()] for name in shown}
    lines += table("", list(result.metrics), values)
    if any(result.differences.values()):
        known = [n for n in shown if any(n in each for each in result.differences.values())]
        apart = {n: [difference(result.differences[name].get(n), n) for name in others] for n in known}
        lines += table(f"minus {first}", others, apart)
        lines += [
            "",
            "  in brackets the 95 % interval of a difference with respect to the choice of structures: where it has",
            "  zero in it, chance may explain it. Students of other seeds differ as well; it says nothing of them.",
        ]
    return "\n".join(lines)


def table(title: str, head: list[str], rows: Mapping[str, list[str]]) -> list[str]:
    """Aligned lines."""
    first = max(len(name) for name in (title, *rows))
    widths = [max(map(len, column)) + 2 for column in zip(head, *rows.values(), strict=True)]
    return [""] + [
        f"  {name:<{first}}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for name, cells in {title: head, **rows}.items()
    ]


def number(value: float | None) -> str:
    """A metric in a table."""
    return "–" if value is None else f"{value:.3f}"


def difference(found: Difference | None, metric: str) -> str:
    """A difference in a table."""
    decimals = 4 if metric.endswith(("cosine", "A2")) else 2
    return "–" if found is None else "{:+.{d}f} [{:+.{d}f}, {:+.{d}f}]".format(*found, d=decimals)

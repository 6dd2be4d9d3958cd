"""Several students, and their teacher, on the same file: errors side by side, and whether they differ."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from jointkd.data.screening import Rejected
from jointkd.errors import DataError
from jointkd.evaluation.errors import LEVELS, Errors, Metrics
from jointkd.evaluation.file_evaluation import FileEvaluation, report_missing, watched
from jointkd.evaluation.predictions import Predicted
from jointkd.structures.frame import Frame

log = logging.getLogger(__name__)

Predict = Callable[[Iterable[Frame]], Iterator[Predicted | Rejected]]
Difference = tuple[float, float, float]  # and the ends of its 95 % interval
OF_THE_ZERO = ("energy_mae", "energy_rmse")  # beginnings of metrics that depend on the zero of energy


@dataclass(frozen=True)
class SideBySide:
    """Errors of several force fields on the structures that all of them can predict; units are in the names."""

    counts: dict[str, int]  # of structures, atoms, labels
    set_aside: dict[str, int]  # structures that one of them cannot predict, by who and the reason
    metrics: dict[str, Metrics]  # by force field
    intervals: dict[str, dict[str, tuple[float, float]]]  # of the metrics: 95 %, by a bootstrap over structures
    differences: dict[str, dict[str, Difference]]  # of the metrics from those of the first one, by a paired bootstrap


def compare_on_file(
    options: FileEvaluation, predictors: Mapping[str, Predict], other_zero: Iterable[str] = ()
) -> SideBySide:
    """Predict every structure of a file by each, and return and log the errors.

    predictors: by name; other_zero: those whose total energies have a zero of their own, of which only relative
    energies are compared. Raises DataError where no structure can be predicted by all.
    """
    errors = {name: Errors() for name in predictors}
    set_aside: Counter[str] = Counter()
    streams = [predict(options.frames()) for predict in predictors.values()]
    for outcomes in watched(zip(*streams, strict=True), options.structures):
        refused = [(name, each) for name, each in zip(predictors, outcomes, strict=True) if isinstance(each, Rejected)]
        if refused:
            set_aside[f"{refused[0][1].reason} ({refused[0][0]})"] += 1
            continue
        for known, outcome in zip(errors.values(), outcomes, strict=True):
            known.add(outcome)
    first = next(iter(errors))
    if not len(errors[first]):
        ((reason, count),) = set_aside.most_common(1)
        raise DataError(
            f"no structure of structures={options.structures} can be predicted by all, {count} because {reason}",
            "give structures of elements that all of them know",
        )
    drawn = {name: known.replicates(options.seed) for name, known in errors.items()}
    metrics = {name: known.metrics() for name, known in errors.items()}
    for name in other_zero:
        metrics[name] = {metric: value for metric, value in metrics[name].items() if not metric.startswith(OF_THE_ZERO)}
    result = SideBySide(
        counts=errors[first].counts(),
        set_aside=dict(set_aside),
        metrics=metrics,
        intervals={name: known.intervals(options.seed) for name, known in errors.items()},
        differences={
            name: differences(metrics[first], metrics[name], drawn[first], drawn[name]) for name in list(errors)[1:]
        },
    )
    report_missing(result.counts, options)
    log.info("%s", described(result, options.structures))
    return result


def differences(
    first: Metrics, other: Metrics, drawn: list[Metrics], drawn_other: list[Metrics]
) -> dict[str, Difference]:
    """How far the metrics of the other are from those of the first, with their 95 % intervals.

    drawn: the metrics of the same samples of structures.
    """
    found = {}
    for name in first:
        apart = [two[name] - one[name] for one, two in zip(drawn, drawn_other, strict=True) if name in one]
        if name in other and apart:
            low, high = np.percentile(apart, LEVELS).tolist()
            found[name] = (other[name] - first[name], low, high)
    return found


def described(result: SideBySide, structures: str) -> str:
    """The counts, and two tables: the metrics, and how far they are from those of the first."""
    counts = ", ".join(f"{result.counts[name]} {name}" for name in ("structures", "atoms"))
    lines = [f"{structures}: {counts} that all can predict"]
    lines += [f"  set aside: {count}, because {reason}" for reason, count in result.set_aside.items()]
    first, *others = result.metrics
    rows = {metric: [number(each.get(metric)) for each in result.metrics.values()] for metric in result.metrics[first]}
    lines += table("", list(result.metrics), rows)
    if any(result.differences.values()):
        apart = {
            metric: [difference(result.differences[name].get(metric), metric) for name in others] for metric in rows
        }
        lines += table(f"minus {first}", others, apart)
        lines += ["", "  in brackets the 95 % interval of a difference; where it contains zero, chance may explain it"]
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
    decimals = 4 if metric.endswith("cosine") else 2
    return "–" if found is None else "{:+.{d}f} [{:+.{d}f}, {:+.{d}f}]".format(*found, d=decimals)

"""Plots of many runs: grids by data and student, sweeps of one option, epochs to match."""

import csv
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.ticker import NullLocator

from jointkd.palette import COLUMN, CYCLE, LINES, MARKERS, METHODS, OTHER, SMALL, TEACHER, TEACHER_LINE
from jointkd.reports.style import figure_of, legend_below, logarithmic, save

TITLES = {
    "energy_mae_meV_per_atom": "Energy MAE\nmeV/atom",
    "force_mae_meV_per_A": "Force MAE\nmeV/Å",
    "hessian_row_mae_eV_per_A2": "Hessian row MAE\neV/Å² (to the teacher)",
}
MAIN = list(TITLES)[:2]
TRAINING = "data.split.train"  # the option of learning curves
ACROSS = 3  # data sets beside each other on a page
WEIGHTS = ("energy", "forces", "atomic_energy", "hessian")

Names = Mapping[Any, str]  # by setting, a named tuple with `data`, `student`, `method`, …
Runs = Mapping[Any, list[dict[str, Any]]]


def teacher_lines(axis: Any, metric: str, runs: Runs, upright: bool = False) -> None:
    """A line at the error of each teacher of some runs, which says how far its signals can be trusted.

    upright: along an axis of errors that is horizontal.
    """
    errors = {setting.teacher: group[0]["teacher_test"].get(metric) for setting, group in runs.items()}
    for teacher, error in errors.items():
        if error is not None:
            if upright:
                axis.axvline(error, color=TEACHER, linestyle=TEACHER_LINE, linewidth=1)
                axis.set_xlabel(f"broken line:\nteacher, {error:.3g}")
                continue
            axis.axhline(error, color=TEACHER, linestyle=TEACHER_LINE, linewidth=1)
            axis.annotate(
                f"teacher {teacher} {error:.3g}" if len(errors) > 1 else f"teacher {error:.3g}",
                (1, error),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                fontsize=SMALL,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
            )


def grid(runs: Runs, names: Names, summary: dict[str, Any], path: Path) -> None:
    """Test errors by data set and student, with a bar for each method, as in the paper's figure 2.

    Each data set is a column; as many as are legible stand beside each other, and others below them.
    """
    columns = panels(runs)
    across = min(len(columns), ACROSS)
    blocks = -(-len(columns) // across)
    figure, axes = figure_of(len(MAIN) * blocks, across, height=2.2)
    shown = list(dict.fromkeys(setting.method for setting in runs))
    for number, ((data, teacher), settings) in enumerate(columns.items()):
        block, column = divmod(number, across)
        students = list(dict.fromkeys(setting.student for setting in settings))
        for row, metric in enumerate(MAIN):
            axis = axes[len(MAIN) * block + row, column]
            for setting in settings:
                value = summary["methods"][names[setting]].get(metric)
                if value:
                    width = 0.8 / len(shown)
                    x = students.index(setting.student) + width * (shown.index(setting.method) - (len(shown) - 1) / 2)
                    color = METHODS.get(setting.method, OTHER)
                    axis.bar(x, value["mean"], width, yerr=error_bars([value]), color=color, capsize=2)
            teacher_lines(axis, metric, {setting: runs[setting] for setting in settings})
            axis.set_xticks(range(len(students)), students)
            if row == 0:
                axis.set_title(f"{data}\n({teacher})")
            if column == 0:
                axis.set_ylabel(TITLES[metric])
    for axis in axes[-len(MAIN) :, len(columns) - across * (blocks - 1) :].flat:
        axis.remove()
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=METHODS.get(method, OTHER)) for method in shown]
    figure.legend(handles, shown, loc="outside upper center", ncols=len(shown))
    save(figure, path)


def panels(runs: Runs) -> dict[tuple[str, str], list[Any]]:
    """The settings to be drawn together, by data and teacher.

    Those without a teacher are drawn with every teacher of their data, with which they are to be compared, unless it
    has such a run of its own.
    """
    columns: dict[tuple[str, str], list[Any]] = {}
    alone = [setting for setting in runs if setting.teacher == "none"]
    for setting in runs:
        if setting.teacher != "none":
            columns.setdefault((setting.data, setting.teacher), []).append(setting)
    for setting in alone:
        own = [settings for (data, _), settings in columns.items() if data == setting.data]
        for settings in own or [columns.setdefault((setting.data, "none"), [])]:
            if all((other.student, other.method) != (setting.student, setting.method) for other in settings):
                settings.insert(0, setting)
    return columns


def sweep(runs: Runs, names: Names, summary: dict[str, Any], option: str, symbol: str, path: Path) -> None:
    """Test errors over an option: a weight (the paper, table 1), a size of students or of the training split, …"""
    figure, axes = figure_of(1, len(MAIN))
    lines = list(dict.fromkeys((setting.data, setting.student, setting.method) for setting in runs))
    differing = [field for field in range(3) if len({line[field] for line in lines}) > 1] or [2]
    for axis, metric in zip(axes[0], MAIN, strict=True):
        for index, line in enumerate(lines):
            settings = [setting for setting in runs if (setting.data, setting.student, setting.method) == line]
            settings = [setting for setting in settings if metric in summary["methods"][names[setting]]]
            settings.sort(key=lambda setting: abscissa(setting, option, runs))
            values = [summary["methods"][names[setting]][metric] for setting in settings]
            axis.errorbar(
                [abscissa(setting, option, runs) for setting in settings],
                [value["mean"] for value in values],
                yerr=error_bars(values),
                linestyle=LINES.get(line[2], "-"),
                marker=MARKERS.get(line[2], "o"),
                capsize=3,
                color=METHODS.get(line[2], OTHER) if differing == [2] else CYCLE[index % len(CYCLE)],
                label=" ".join(line[field] for field in differing),
            )
        axis.set_xlabel(symbol)
        teacher_lines(axis, metric, runs)
        axis.set_ylabel("test " + lowered(TITLES[metric]))
        scale(axis, option, [abscissa(setting, option, runs) for setting in runs])
    legend_below(figure, axes[0, 0], [" ".join(line) for line in lines])
    save(figure, path)


def scale(axis: Any, option: str, values: Sequence[float]) -> None:
    """The scales of a sweep: errors fall as powers of the number of structures, so that both are logarithmic then."""
    if option in WEIGHTS:
        axis.set_xscale("symlog", linthresh=1)
        axis.set_xticks(sorted(set(values)), [f"{value:g}" for value in sorted(set(values))])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlim(-0.2 if min(values) == 0 else min(values) / 1.5, 1.5 * max(values))
    elif min(values) > 0 and (option == TRAINING or max(values) >= 4 * min(values)):
        axis.set_xscale("log")
        axis.set_xticks(sorted(set(values)), [f"{value:.3g}" for value in sorted(set(values))])
        axis.xaxis.set_minor_locator(NullLocator())
    if option == TRAINING:
        logarithmic(axis)


def lowered(title: str) -> str:
    """A title as part of a label: energy MAE, meV/atom."""
    return (title[0].lower() + title[1:]).replace("\n", ", ")


def error_bars(values: Iterable[dict[str, Any]]) -> np.ndarray | None:
    """[2, n] how far the bars of error reach down and up; None where there are none.

    These are standard deviations over seeds or, with one seed, 95 % over the choice of test structures; not a number,
    which is not drawn, without either.
    """
    reach = []
    for value in values:
        low, high = value.get("interval", (math.nan, math.nan))
        both = (value["mean"] - low, high - value["mean"]) if value["std"] is None else (value["std"], value["std"])
        reach.append(both)
    bars = np.maximum(np.array(reach, dtype=float).T, 0)
    return None if np.isnan(bars).all() else bars


def abscissa(setting: Any, option: str, runs: Runs) -> float:
    """The value of a swept option: millions of parameters for `width`, and the number of training structures."""
    if option == "width":
        return runs[setting][0]["parameters"] / 1e6
    if option == TRAINING:
        return runs[setting][0]["training_structures"]
    return getattr(setting, option) if hasattr(setting, option) else float(setting.options.partition("=")[2])


def epochs(rows: list[dict[str, Any]], path: Path) -> None:
    """Bars of the epochs to the final energy error of Hessian-only training, as in the paper's figure 3."""
    labels = ["\n".join(filter(None, [row["data"], row["student"], row["options"].replace(" ", "\n")])) for row in rows]
    figure, ((axis,),) = figure_of(1, 1, width=max(COLUMN, 0.8 + 0.75 * len(rows)))
    for offset, method in ((-0.2, "hessian"), (0.2, "joint")):
        heights = [row[method] or 0 for row in rows]
        container = axis.bar([x + offset for x in range(len(rows))], heights, 0.4, color=METHODS[method], label=method)
        axis.bar_label(container, [f"{row[method]:g}" if row[method] is not None else "not\nreached" for row in rows])
    axis.set_xticks(range(len(rows)), labels)
    axis.set_ylabel("epochs to the final\nenergy error of hessian")
    axis.margins(y=0.15)
    figure.legend(loc="outside upper center", ncols=2)
    save(figure, path)


def history(folder: Path, name: str, over: str) -> tuple[list[int], list[float]]:
    """A logged quantity of a run over `step` or `epoch`, also before the run was resumed."""
    values: dict[int, float] = {}
    parts = (folder / "metrics").glob("metrics*.csv")  # metrics-1.csv, …, and then metrics.csv
    for file in sorted(parts, key=lambda part: int(part.stem.partition("-")[2] or sys.maxsize)):
        with file.open(encoding="utf-8") as opened:
            for row in csv.DictReader(opened):
                with suppress(ValueError, TypeError):  # the last line of a run that was killed may be incomplete
                    if row.get(name):
                        values[int(row[over])] = float(row[name])
    return list(values), list(values.values())

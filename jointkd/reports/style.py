"""Figures of reports: their sizes, scales and legends, in the look of `palette`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation, NullFormatter

from jointkd.palette import DPI, PAGE, STYLE

LINE = 0.17  # inches: the height of a line of text

pyplot.rcParams.update(STYLE)


def figure_of(rows: int, columns: int, width: float = PAGE, height: float = 2.6) -> tuple[Any, Any]:
    """A figure with [rows, columns] axes. width: inches, of all; height: of a row."""
    return pyplot.subplots(rows, columns, figsize=(width, height * rows), squeeze=False, layout="constrained")


def logarithmic(axis: Any, direction: str = "y") -> None:
    """A logarithmic scale, with numbers as one writes them where they span less than a few decades."""
    axis.set(**{f"{direction}scale": "log"})
    own = axis.xaxis if direction == "x" else axis.yaxis
    low, high = own.get_view_interval()
    own.set_major_formatter(
        FuncFormatter(lambda x, _: f"{x:g}") if low > 1e-3 and high < 1e4 else LogFormatterSciNotation()
    )
    own.set_minor_formatter(FuncFormatter(two_and_five) if high / low < 20 else NullFormatter())


def two_and_five(x: float, _: int | None = None) -> str:
    """The label of a minor tick: 2 and 5 of a decade, so that a scale within one decade has numbers at all."""
    return f"{x:g}" if f"{x:e}"[0] in "25" else ""


def legend_below(figure: Any, axis: Any, names: Iterable[str]) -> None:
    """The legend of an axis below all, in as many columns as names of such a length leave room for.

    The figure becomes taller by that much.
    """
    handles, labels = axis.get_legend_handles_labels()
    columns = max(1, int(figure.get_figwidth() * 13 / (max(map(len, names)) + 6)))
    figure.set_figheight(figure.get_figheight() + LINE * -(-len(labels) // columns))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def save(figure: Any, path: Path) -> None:
    """Write a figure to a PNG file, and free it."""
    figure.savefig(path, dpi=DPI)
    pyplot.close(figure)

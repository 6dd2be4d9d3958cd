"""How all plots of runs look: colours for every kind of colour vision, and letters that are legible at column width."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation, NullFormatter

COLUMN, PAGE = 3.4, 7.0  # inches: the widths of a column and of a page of a journal; plots are drawn at this size
DPI = 220
LINE = 0.17  # inches: the height of a line of text
COLORS = {"none": "#8c8c8c", "atomic_energy": "#E69F00", "hessian": "#0072B2", "joint": "#D55E00"}  # Okabe and Ito
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # of what is no method
LINES = {"none": ":", "atomic_energy": "-.", "hessian": "--", "joint": "-"}  # so that color is not needed
MARKERS = {"none": "s", "atomic_energy": "^", "hessian": "D", "joint": "o"}
OTHER = "#555555"

pyplot.rcParams.update(
    {
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5,
        "legend.fontsize": 7.5,
        "figure.titlesize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "lines.linewidth": 1.3,
        "lines.markersize": 4,
    }
)


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

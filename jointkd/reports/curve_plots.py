"""Plots of energy profiles: one panel for each scan or slice."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jointkd import palette
from jointkd.evaluation.profiles import TURN, Curves, closes
from jointkd.files.atomic import write_whole
from jointkd.reports.style import legend_below, pyplot

REFERENCE, TEACHER = "reference", "teacher"
FIXED: dict[str, dict[str, Any]] = {  # of names that are no student's
    REFERENCE: {"color": palette.REFERENCE, "linestyle": palette.REFERENCE_LINE, "linewidth": 2.0, "zorder": 1},
    TEACHER: {"color": palette.TEACHER, "linestyle": palette.TEACHER_LINE},
}
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))


def styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """How each curve is drawn: a student in the colour of its method, and those of one colour with other dashes."""
    listed = list(names)
    drawn: dict[str, dict[str, Any]] = {name: FIXED[name] for name in listed if name in FIXED}
    for name, color in palette.student_colors(name for name in listed if name not in FIXED).items():
        same = sum(style["color"] == color for style in drawn.values())
        drawn[name] = {"color": color, "linestyle": DASHES[same % len(DASHES)], "zorder": 3}
    return drawn


def plot_curves(curves: Sequence[Curves], axis: str, path: Path) -> None:
    """Energies above the lowest point of each curve over the angle. axis: the label of the abscissa, with its unit."""
    figure, panels = pyplot.subplots(
        1, len(curves), figsize=(0.8 + 3.0 * len(curves), 3.0), squeeze=False, layout="constrained"
    )
    drawn = styles(dict.fromkeys(name for each in curves for name in each.energies))
    for panel, each in zip(panels[0], curves, strict=True):
        for name in each.energies:
            panel.plot(*around(each.angles, each.relative(name)), label=name, marker="o", markersize=2, **drawn[name])
        panel.set_title(each.title)
        panel.set_xlabel(axis)
        panel.set_xticks(np.arange(0, 361, 60))
    panels[0, 0].set_ylabel("energy above the lowest point, meV")
    legend_below(figure, panels[0, 0], drawn)
    save_new(figure, path)


def around(angles: np.ndarray, energies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ascending angles (degrees) with energies; where they close the turn, the first is repeated at its end."""
    order = np.argsort(angles)
    if closes(angles[order]):
        return np.append(angles[order], angles[order[0]] + TURN), energies[np.append(order, order[0])]
    return angles[order], energies[order]


def save_new(figure: Any, path: Path) -> None:
    """Write a figure as a PNG that is complete or absent, and free it."""
    content = io.BytesIO()
    figure.savefig(content, dpi=palette.DPI, format="png")
    pyplot.close(figure)
    write_whole(path, content.getvalue())

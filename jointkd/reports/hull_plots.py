"""Distances of the test structures to the convex hull: by the reference energies, and by those of each student."""

import csv
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jointkd.evaluation.hull import agreement, hull_distances
from jointkd.files.atomic import write_whole
from jointkd.palette import COLUMN, LIMIT, LIMIT_LINE, PAGE, THIN, student_colors
from jointkd.reports.figures import Figure
from jointkd.reports.formation_plots import Elements, check_given, recorded_phases
from jointkd.reports.structures import TestedStructures
from jointkd.reports.style import figure_of, save
from jointkd.reports.tables import Table

log = logging.getLogger(__name__)

FILE, DATA = "hull.png", "hull.csv"
MOST = 4  # settings that are drawn
LEAST = 1e-3  # eV/atom, the least end of the axes
HEAD = ["", "structures", "MAE, meV/atom", "stable", "precision", "recall", "F1"]


class Distances(NamedTuple):
    """Of the test structures [M] of a run to the hull, eV/atom, NaN where there is none."""

    seed: int
    formulas: list[str]
    reference: np.ndarray
    predicted: np.ndarray


def hull(
    root: Path, runs: Mapping[str, list[dict[str, Any]]], stable: float, given: Elements | None = None
) -> Figure | None:
    """Draw the distances, and write them as CSV; None, with a line that says why, where there are none.

    runs: by name; stable: eV/atom above the hull, up to which a structure counts as stable; given: energies of the
    elements, None for those of their phases that the runs recorded.
    """
    found = {name: [each for run in group if (each := distances(run, given))] for name, group in runs.items()}
    found = {name: group for name, group in found.items() if group}
    if not found:
        return None
    draw(root / FILE, dict(list(found.items())[:MOST]), stable)
    write_whole(root / DATA, as_csv(found).encode())
    more = f" Drawn are the first {MOST} of {len(found)} settings." if len(found) > MOST else ""
    return Figure(FILE, "Distance to the convex hull", explained(stable, given) + more, DATA, agreements(found, stable))


def distances(run: Mapping[str, Any], given: Elements | None) -> Distances | None:
    """Those of a run's test structures; None, with a line that says why, where none of them has one."""
    tested = TestedStructures.read(run["folder"])
    if tested is None or not run.get("crystals"):
        log.warning(
            "%s has no distances to the convex hull: its test structures are not all crystals, periodic in three "
            "directions, or it is of an earlier version, which did not record that",
            run["folder"],
        )
        return None
    if given is not None:
        check_given(given, tested.formulas)
    phases = recorded_phases(run)
    reference, predicted = (
        hull_distances(tested.formulas, energies, given or {symbol: each[side] for symbol, each in phases.items()})
        for side, energies in (("energy", tested.energies), ("predicted", tested.predicted))
    )
    if not np.isfinite(reference).any():
        log.warning(
            "%s has no distances to the convex hull: neither training nor test structures have all elements of a test "
            "structure as crystals of their own; give their energies with elements={…}",
            run["folder"],
        )
        return None
    return Distances(run["seed"], tested.formulas, reference, predicted)


def explained(stable: float, given: Elements | None) -> str:
    """What the hull is made of, and what counts as stable."""
    elements = "those of the elements that were given" if given else "the reference phases of the elements"
    return (
        "How far each test structure is above the convex hull: for the reference that of the reference energies, for a "
        "student that of its own energies of the same phases, so that an error that they share cancels. The phases are "
        f"the test structures and {elements}; others, which may be more stable, are not among them. Stable: at most "
        f"{1e3 * stable:g} meV/atom above the hull (dotted). Left out: structures with an element that has no phase."
    )


def draw(path: Path, found: Mapping[str, list[Distances]], stable: float) -> None:
    """A panel for each setting, with the structures of all its seeds, on the same axes."""
    width = max(COLUMN, min(2.4 * len(found), PAGE))
    figure, axes = figure_of(1, len(found), width, 2.7)
    most = max(np.nanmax([each.reference, each.predicted]) for group in found.values() for each in group)
    ends = -0.03 * most, 1.05 * max(most, 2 * stable, LEAST)
    colors = student_colors(found)
    for axis, (name, group) in zip(axes[0], found.items(), strict=True):
        axis.plot(ends, ends, color=LIMIT, linewidth=THIN)
        axis.axhline(stable, color=LIMIT, linewidth=THIN, linestyle=LIMIT_LINE)
        axis.axvline(stable, color=LIMIT, linewidth=THIN, linestyle=LIMIT_LINE)
        for each in group:
            axis.plot(
                each.reference, each.predicted, "o", color=colors[name], markersize=3, alpha=0.5, markeredgewidth=0
            )
        axis.set(xlim=ends, ylim=ends, aspect="equal", title=name.replace(" ", "\n"))
        axis.set_xlabel("reference, eV/atom\nabove its hull")
    axes[0, 0].set_ylabel("student, eV/atom\nabove its own hull")
    save(figure, path)


def agreements(found: Mapping[str, list[Distances]], stable: float) -> Table:
    """How far students and reference agree, over all seeds, the smallest error and the largest F1 in bold."""
    metrics, rows = [], []
    for name, group in found.items():
        reference, predicted = (np.concatenate([each[side] for each in group]) for side in (2, 3))
        above, below = (sums.sum(0) for sums in agreement(reference, predicted, stable))
        metrics.append(np.divide(above, below, out=np.full(4, np.nan), where=below > 0))
        texts = ["–" if np.isnan(value) else f"{round(value, 6):.3g}" for value in metrics[-1].tolist()]
        rows.append([name, f"{below[0]:.0f}", texts[0], f"{below[2]:.0f}", *texts[1:]])
    errors, _, _, f1 = np.array(metrics).T
    best = {(row, 2) for row, error in enumerate(errors) if error == np.fmin.reduce(errors)}
    best |= {(row, 6) for row, value in enumerate(f1) if value == np.fmax.reduce(f1)}
    return Table(HEAD, rows, frozenset(best if len(rows) > 1 else ()))


def as_csv(found: Mapping[str, list[Distances]]) -> str:
    """The distances of all structures that have one."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["setting", "seed", "formula", "hull_distance_eV_per_atom", "predicted_hull_distance_eV_per_atom"])
    for name, group in found.items():
        for each in group:
            for formula, *both in zip(each.formulas, each.reference, each.predicted, strict=True):
                if np.isfinite(both).all():
                    table.writerow([name, each.seed, formula, *(f"{value:.6f}" for value in both)])
    return text.getvalue()

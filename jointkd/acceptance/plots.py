"""The picture of an acceptance: dimers, energies without a thermostat, lifetimes, frequencies."""

from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot

from jointkd.acceptance.accept import Graded
from jointkd.acceptance.dimers import FRACTIONS
from jointkd.simulation.lifetimes import survival

GOOD, BAD, GREY = "#4c78a8", "#c03a2b", "#9aa0a6"
HIGHEST = 20.0  # eV of the dimers
MOST_NAMES = 12
CORNER: dict[str, Any] = {"ha": "right", "va": "top", "fontsize": 7}


def plot(graded: Graded, path: Path) -> None:
    """Draw the four panels."""
    figure, axes = pyplot.subplots(2, 2, figsize=(8, 6.4), layout="constrained")
    plot_dimers(axes[0, 0], graded)
    plot_energies(axes[0, 1], graded)
    plot_survival(axes[1, 0], graded)
    plot_frequencies(axes[1, 1], graded)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.locator_params(axis="x", nbins=6)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def plot_dimers(axis: Any, graded: Graded) -> None:
    """Curves of all pairs of elements over the distance in units of the sum of the covalent radii."""
    faulty = [curve.pair for curve in graded.dimers.curves if curve.falls_below is not None]
    for curve in graded.dimers.curves:
        color, style = (BAD, "--") if curve.pair in faulty else (GOOD, "-")
        axis.plot(FRACTIONS, curve.energies, style, color=color, linewidth=1, alpha=0.8)
    every = np.concatenate([curve.energies[np.isfinite(curve.energies)] for curve in graded.dimers.curves])
    lowest, highest = max(every.min(initial=0.0), -HIGHEST), min(every.max(initial=1.0), HIGHEST)
    axis.set_ylim(lowest - 0.1 * (highest - lowest), highest + 0.1 * (highest - lowest))
    names = fill(", ".join(faulty[:MOST_NAMES]) + (", …" if len(faulty) > MOST_NAMES else ""), 24)
    if faulty:
        axis.text(0.98, 0.98, f"not repulsive (dashed):\n{names}", transform=axis.transAxes, **CORNER)
    axis.axvline(graded.dimers.gate_below, color=GREY, linestyle=":", linewidth=1)
    axis.set_xlabel("Distance / sum of the covalent radii")
    axis.set_ylabel("Energy of two atoms, eV")
    axis.set_title("Dimers", fontsize=10)


def plot_energies(axis: Any, graded: Graded) -> None:
    """The total energy of each replica over time."""
    axis.plot(graded.conservation.times, 1000 * graded.conservation.totals, color=GOOD, linewidth=0.8, alpha=0.7)
    axis.set_xlabel("Time, ps")
    axis.set_ylabel("Change of the total energy,\nmeV/atom")
    axis.set_title("Without a thermostat", fontsize=10)


def plot_survival(axis: Any, graded: Graded) -> None:
    """The share of replicas that are whole, a line for each temperature."""
    for number, each in enumerate(graded.trajectories):
        ends = [one.times[-1] for one in each.watched]
        broken = [not one.alive for one in each.watched]
        times, share = survival(ends, broken)
        axis.step(
            [*times, max(ends)], [*share, share[-1]], where="post", color=BAD if any(broken) else GOOD,
            linestyle=("-", "--", "-.", ":")[number % 4], label=f"{each.gate.name.removeprefix('stability at ')}",
        )  # fmt: skip
    axis.set_ylim(-0.03, 1.05)
    axis.set_xlabel("Time, ps")
    axis.set_ylabel("Share of replicas that are whole")
    axis.legend(frameon=False, fontsize=8, loc="lower left")
    axis.set_title("Stability", fontsize=10)


def plot_frequencies(axis: Any, graded: Graded) -> None:
    """Frequencies of the student against those of the teacher."""
    axis.set_title("Vibrations at a minimum of the student", fontsize=10)
    axis.set_xlabel("Teacher, cm⁻¹")
    axis.set_ylabel("Student, cm⁻¹")
    if graded.teacher is None or not len(graded.teacher.student):
        axis.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axis.transAxes, color=GREY)
        return
    both = np.concatenate([graded.teacher.student, graded.teacher.teacher])
    axis.plot([both.min(), both.max()], [both.min(), both.max()], color=GREY, linewidth=1)
    axis.plot(graded.teacher.teacher, graded.teacher.student, "o", color=GOOD, markersize=3)

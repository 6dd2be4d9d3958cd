"""The picture of an acceptance: dimers, energies without a thermostat, lifetimes, frequencies, and a crystal."""

from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot

from jointkd.acceptance.accept import Graded
from jointkd.acceptance.crystals import Crystal
from jointkd.acceptance.dimers import FRACTIONS
from jointkd.palette import DPI, FAILED, LIMIT, LIMIT_LINE, OTHER, SMALL, STUDENT, STYLE, TEACHER, TEACHER_LINE, THIN
from jointkd.simulation.lifetimes import survival

HIGHEST = 20.0  # eV of the dimers
MOST_NAMES = 12
BROADENING = 0.02  # of densities of states, as a fraction of the range of the frequencies
PAIR = ((STUDENT, "o-", "student"), (TEACHER, f"s{TEACHER_LINE}", "teacher"))
CORNER: dict[str, Any] = {"ha": "right", "va": "top", "fontsize": SMALL}


@matplotlib.rc_context(STYLE)
def plot(graded: Graded, path: Path) -> None:
    """Draw the four panels, and two more where a crystal was measured."""
    crystal = graded.crystal
    columns = 2 if crystal is None else 3
    figure, axes = pyplot.subplots(2, columns, figsize=(3.2 * columns, 5.0), layout="constrained")
    plot_dimers(axes[0, 0], graded)
    plot_energies(axes[0, 1], graded)
    plot_survival(axes[1, 0], graded)
    plot_frequencies(axes[1, 1], graded)
    if crystal is not None:
        plot_curves(axes[0, 2], crystal)
        plot_phonons(axes[1, 2], crystal)
    for axis in axes.flat:
        axis.locator_params(axis="x", nbins=6)
    figure.savefig(path, dpi=DPI)
    pyplot.close(figure)


def plot_dimers(axis: Any, graded: Graded) -> None:
    """Curves of all pairs of elements over the distance in units of the sum of the covalent radii."""
    faulty = [curve.pair for curve in graded.dimers.curves if curve.falls_below is not None]
    for curve in graded.dimers.curves:
        color, style = (FAILED, "--") if curve.pair in faulty else (STUDENT, "-")
        axis.plot(FRACTIONS, curve.energies, style, color=color, linewidth=1, alpha=0.8)
    every = np.concatenate([curve.energies[np.isfinite(curve.energies)] for curve in graded.dimers.curves])
    lowest, highest = max(every.min(initial=0.0), -HIGHEST), min(every.max(initial=1.0), HIGHEST)
    axis.set_ylim(lowest - 0.1 * (highest - lowest), highest + 0.1 * (highest - lowest))
    names = fill(", ".join(faulty[:MOST_NAMES]) + (", …" if len(faulty) > MOST_NAMES else ""), 24)
    if faulty:
        axis.text(0.98, 0.98, f"not repulsive (dashed):\n{names}", transform=axis.transAxes, **CORNER)
    axis.axvline(graded.dimers.gate_below, color=LIMIT, linestyle=LIMIT_LINE)
    axis.set_xlabel("Distance / sum of the covalent radii")
    axis.set_ylabel("Energy of two atoms, eV")
    axis.set_title("Dimers")


def plot_energies(axis: Any, graded: Graded) -> None:
    """The total energy of each replica over time."""
    axis.plot(graded.conservation.times, 1000 * graded.conservation.totals, color=STUDENT, linewidth=THIN, alpha=0.7)
    axis.set_xlabel("Time, ps")
    axis.set_ylabel("Change of the total energy,\nmeV/atom")
    axis.set_title("Without a thermostat")


def plot_survival(axis: Any, graded: Graded) -> None:
    """The share of replicas that are whole, a line for each temperature."""
    for number, each in enumerate(graded.trajectories):
        ends = [one.times[-1] for one in each.watched]
        broken = [not one.alive for one in each.watched]
        times, share = survival(ends, broken)
        axis.step(
            [*times, max(ends)], [*share, share[-1]], where="post", color=FAILED if any(broken) else STUDENT,
            linestyle=("-", "--", "-.", ":")[number % 4], label=f"{each.gate.name.removeprefix('stability at ')}",
        )  # fmt: skip
    axis.set_ylim(-0.03, 1.05)
    axis.set_xlabel("Time, ps")
    axis.set_ylabel("Share of replicas that are whole")
    axis.legend(loc="lower left")
    axis.set_title("Stability")


def plot_frequencies(axis: Any, graded: Graded) -> None:
    """Frequencies of the student against those of the teacher."""
    axis.set_title("Vibrations at a minimum of the student")
    axis.set_xlabel("Teacher, cm⁻¹")
    axis.set_ylabel("Student, cm⁻¹")
    if graded.teacher is None or not len(graded.teacher.student):
        not_measured(axis)
        return
    both = np.concatenate([graded.teacher.student, graded.teacher.teacher])
    axis.plot([both.min(), both.max()], [both.min(), both.max()], color=LIMIT, linewidth=THIN)
    axis.plot(graded.teacher.teacher, graded.teacher.student, "o", color=STUDENT, markersize=3)


def plot_curves(axis: Any, crystal: Crystal) -> None:
    """Energies of the crystal over its volume, of the student and of the teacher."""
    axis.set_title(f"Equation of state{crystal.name and ': ' + crystal.name}")
    axis.set_xlabel("Volume, Å³/atom")
    axis.set_ylabel("Energy, meV/atom")
    if crystal.curves is None:
        not_measured(axis)
        return
    for curve, (color, style, who) in zip(crystal.curves, PAIR, strict=True):
        axis.plot(curve.volumes, 1000 * curve.energies, style, color=color, linewidth=1, markersize=4, label=who)
    axis.legend()


def plot_phonons(axis: Any, crystal: Crystal) -> None:
    """Densities of states, of the wave vectors that fit into the supercell."""
    axis.set_title("Phonons")
    axis.set_xlabel("Frequency, cm⁻¹ (imaginary: negative)")
    axis.set_ylabel("Modes per cm⁻¹ and cell")
    if crystal.frequencies is None:
        not_measured(axis)
        return
    both = np.stack(crystal.frequencies)
    width = max(BROADENING * (both.max() - both.min()), 1.0)
    grid = np.linspace(both.min() - 3 * width, both.max() + 3 * width, 400)
    for frequencies, (color, style, who) in zip(both, PAIR, strict=True):
        peaks = np.exp(-(((grid - frequencies.reshape(-1, 1)) / width) ** 2) / 2) / (width * np.sqrt(2 * np.pi))
        axis.plot(grid, peaks.sum(0) / len(frequencies), style[1:], color=color, linewidth=1, label=who)
    axis.legend()


def not_measured(axis: Any) -> None:
    """Say so in an empty panel."""
    axis.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axis.transAxes, color=OTHER)

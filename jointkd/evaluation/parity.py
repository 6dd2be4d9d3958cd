"""The parity plot: predicted against reference energies and forces, as densities, however many there are."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.ticker import MaxNLocator

from jointkd.evaluation.predictions import Predicted

matplotlib.use("Agg")
from matplotlib import pyplot

BINS = 256  # along an axis; a power of 2, at least 4
MOST_SHOWN = 100  # bins along an axis of the plot
FIRST_RANGE = 1 / 64  # eV/Å or eV/atom
COLORS = ListedColormap(matplotlib.colormaps["cividis_r"](np.linspace(0.2, 1, 256)))  # for every kind of colour vision


class Density:
    """A two-dimensional histogram that doubles its range around a centre when a value lies outside.

    Bins are joined two by two then, so that it is exact and its size does not grow. center: None for the first value.
    """

    def __init__(self, center: float | None = None) -> None:
        self.center = center
        self.range = FIRST_RANGE  # the axes go from center - range to center + range
        self.counts = np.zeros((BINS, BINS))  # by reference, then prediction

    def add(self, reference: np.ndarray, predicted: np.ndarray) -> None:
        """Add pairs of finite values, arrays of one shape that are not empty."""
        pairs = np.stack([reference.ravel(), predicted.ravel()])
        if self.center is None:
            self.center = float(pairs[0, 0])
        pairs -= self.center
        while np.abs(pairs).max() >= self.range:
            self.counts = np.pad(joined(self.counts), BINS // 4)
            self.range *= 2
        bins = np.floor((pairs / self.range + 1) * (BINS // 2)).astype(int)
        np.add.at(self.counts, tuple(bins), 1)

    def shown(self) -> tuple[np.ndarray, np.ndarray]:
        """The edges of the bins [K + 1] and the counts [K, K], of no more bins than can be told apart."""
        counts = self.counts
        while np.ptp(occupied(counts)) >= MOST_SHOWN:
            counts = joined(counts)
        first, last = max(occupied(counts)[0] - 2, 0), min(occupied(counts)[-1] + 3, len(counts))
        edges = (self.center or 0.0) + np.linspace(-self.range, self.range, len(counts) + 1)
        return edges[first : last + 1], counts[first:last, first:last]


def joined(counts: np.ndarray) -> np.ndarray:
    """Bins joined two by two along both axes."""
    half = len(counts) // 2
    return counts.reshape(half, 2, half, 2).sum((1, 3))


def occupied(counts: np.ndarray) -> np.ndarray:
    """The positions along either axis where there are counts."""
    return np.flatnonzero(counts.any(0) | counts.any(1))


class Parity:
    """Energies relative to the references per atom, and force components, of predictions and of labels."""

    def __init__(self) -> None:
        self.energies, self.forces = Density(), Density(center=0.0)

    def add(self, predicted: Predicted, reference_energy: float) -> None:
        """Add a structure. reference_energy: eV, the sum of the reference energies of its atoms."""
        frame = predicted.frame
        if frame.energy is not None:
            energies = np.array([frame.energy, predicted.energy]) - reference_energy
            self.energies.add(*(energies / len(frame))[:, None])
        if frame.forces is not None:
            self.forces.add(frame.forces, predicted.forces)

    def save(self, path: Path) -> bool:
        """Write the plot of what there are labels of as a PNG, and return whether there are any."""
        panels = (
            (self.energies, "Energy relative to the reference energies", "energy, eV/atom", "structures"),
            (self.forces, "Forces", "force component, eV/Å", "components"),
        )
        shown = [panel for panel in panels if panel[0].counts.any()]
        if not shown:
            return False
        figure, axes = pyplot.subplots(
            1, len(shown), figsize=(4.5 * len(shown), 3.9), layout="constrained", squeeze=False
        )
        for axis, panel in zip(axes[0], shown, strict=True):
            draw(axis, *panel)
        figure.savefig(path, dpi=150, format="png")
        pyplot.close(figure)
        return True


def draw(axis: Any, density: Density, title: str, quantity: str, unit: str) -> None:
    """One density, with the line on which predictions would be exact."""
    edges, counts = density.shown()
    ends = edges[[0, -1]]
    masked = np.ma.masked_equal(counts.T, 0)
    mesh = axis.pcolormesh(edges, edges, masked, cmap=COLORS, norm=LogNorm(1, max(counts.max(), 10)), rasterized=True)
    axis.plot(ends, ends, color="black", linewidth=0.8, linestyle="--", zorder=0)
    axis.set(xlim=ends, ylim=ends, aspect="equal")
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(f"reference {quantity}")
    axis.set_ylabel(f"predicted {quantity}")
    for each in (axis.xaxis, axis.yaxis):
        each.set_major_locator(MaxNLocator(5))
    axis.spines[["top", "right"]].set_visible(False)
    axis.figure.colorbar(mesh, ax=axis, label=f"{unit} per bin", shrink=0.9)

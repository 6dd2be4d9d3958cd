"""The parity plot: predicted against reference energies and forces, as densities, however many there are."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.ticker import MaxNLocator

from jointkd.evaluation.density import Density
from jointkd.evaluation.predictions import Predicted

matplotlib.use("Agg")
from matplotlib import pyplot

COLORS = ListedColormap(matplotlib.colormaps["cividis_r"](np.linspace(0.2, 1, 256)))  # for every kind of colour vision


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
        for axis, (density, title, quantity, unit) in zip(axes[0], shown, strict=True):
            mesh = draw(axis, *density.shown(), quantity)
            axis.set_title(title, fontsize=10)
            axis.spines[["top", "right"]].set_visible(False)
            figure.colorbar(mesh, ax=axis, label=f"{unit} per bin", shrink=0.9)
        figure.savefig(path, dpi=150, format="png")
        pyplot.close(figure)
        return True


def draw(
    axis: Any,
    edges: np.ndarray,
    counts: np.ndarray,
    quantity: str,
    ends: tuple[float, float] | None = None,
    most: float = 10,
) -> Any:
    """One density, with the line on which predictions would be exact. Returns what a colour bar is made of.

    edges: [K + 1]; counts: [K, K] by reference, then prediction; ends: of the axes, None for those of the edges; most:
    the least end of the scale of colours.
    """
    first, last = ends or (float(edges[0]), float(edges[-1]))
    masked = np.ma.masked_equal(counts.T, 0)
    mesh = axis.pcolormesh(edges, edges, masked, cmap=COLORS, norm=LogNorm(1, max(counts.max(), most)), rasterized=True)
    axis.plot([first, last], [first, last], color="black", linewidth=0.8, linestyle="--", zorder=0)
    axis.set(xlim=(first, last), ylim=(first, last), aspect="equal")
    axis.set_xlabel(f"reference {quantity}")
    axis.set_ylabel(f"predicted {quantity}")
    for each in (axis.xaxis, axis.yaxis):
        each.set_major_locator(MaxNLocator(4))
    return mesh

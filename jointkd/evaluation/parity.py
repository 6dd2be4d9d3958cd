"""The parity plot: predictions against labels, as densities, however many there are."""

from pathlib import Path

import matplotlib
import numpy as np

from jointkd.evaluation.density import Density
from jointkd.evaluation.density_plot import draw
from jointkd.evaluation.predictions import Predicted
from jointkd.palette import DPI, STYLE

matplotlib.use("Agg")
from matplotlib import pyplot


class Parity:
    """Energies relative to the references per atom, force components, and entries of Hessian rows of a teacher."""

    def __init__(self) -> None:
        self.energies, self.forces, self.hessian = Density(), Density(center=0.0), Density(center=0.0)

    def add(self, predicted: Predicted, reference_energy: float) -> None:
        """Add a structure. reference_energy: eV, the sum of the reference energies of its atoms."""
        frame = predicted.frame
        if frame.energy is not None:
            energies = np.array([frame.energy, predicted.energy]) - reference_energy
            self.energies.add(*(energies / len(frame))[:, None])
        if frame.forces is not None:
            self.forces.add(frame.forces, predicted.forces)

    @matplotlib.rc_context(STYLE)
    def save(self, path: Path) -> bool:
        """Write the plot of what there are labels of as a PNG, and return whether there are any."""
        panels = (
            (self.energies, "Energy relative to\nthe reference energies", "energy, eV/atom", "structures"),
            (self.forces, "Forces", "force component, eV/Å", "components"),
            (self.hessian, "Hessian rows\n(reference: the teacher)", "entry, eV/Å²", "entries"),
        )
        shown = [panel for panel in panels if panel[0].counts.any()]
        if not shown:
            return False
        figure, axes = pyplot.subplots(
            1, len(shown), figsize=(3.2 * len(shown), 2.8), layout="constrained", squeeze=False
        )
        for axis, (density, title, quantity, unit) in zip(axes[0], shown, strict=True):
            mesh = draw(axis, *density.shown(), quantity)
            axis.set_title(title)
            figure.colorbar(mesh, ax=axis, label=f"{unit} per bin", shrink=0.9)
        figure.savefig(path, dpi=DPI, format="png")
        pyplot.close(figure)
        return True

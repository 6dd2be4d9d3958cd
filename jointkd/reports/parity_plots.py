"""Predicted against reference energies and forces of each setting, on the same axes."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jointkd.errors import first_line
from jointkd.evaluation.density import coarsened, load_densities
from jointkd.evaluation.density_plot import draw
from jointkd.files.run_files import PARITY, TESTED_STRUCTURES
from jointkd.palette import PAGE
from jointkd.reports.figures import Figure
from jointkd.reports.structures import TestedStructures
from jointkd.reports.style import figure_of, save

log = logging.getLogger(__name__)

FILE = "parity.png"
MOST = 4  # settings that are drawn
BINS = 50  # of energies, along an axis
QUANTITIES = (("energy", "eV/atom", "structures"), ("force component", "eV/Å", "components"))  # and what is counted

Histogram = tuple[np.ndarray, np.ndarray]  # edges [K + 1] of both axes and counts [K, K], by reference, then prediction


def parity(root: Path, runs: Mapping[str, list[dict[str, Any]]]) -> Figure | None:
    """Draw what the first run of each setting recorded; None where none did. runs: by name."""
    recorded = {name: read(group[0]["folder"]) for name, group in runs.items()}
    known = [(name, *found) for name, found in recorded.items() if found]
    if not known:
        return None
    titles, energies, forces = zip(*known[:MOST], strict=True)
    width = max(edges[1] - edges[0] for edges, _ in forces)
    rows = binned(energies), [coarsened(edges, counts, width) for edges, counts in forces]
    figure, axes = figure_of(2, len(titles), width=min(PAGE, 2.4 * len(titles) + 0.8), height=2.4)
    for line, shown, (quantity, unit, counted) in zip(axes, rows, QUANTITIES, strict=True):
        ends = min(edges[0] for edges, _ in shown), max(edges[-1] for edges, _ in shown)
        most = max(10, *(counts.max() for _, counts in shown))
        for column, (axis, (edges, counts)) in enumerate(zip(line, shown, strict=True)):
            mesh = draw(axis, edges, counts, f"{quantity}, {unit}", ends, most)
            axis.set_xlabel(f"reference, {unit}")
            if column > 0:
                axis.set_ylabel("")
                axis.tick_params(labelleft=False)
        figure.colorbar(mesh, ax=line.tolist(), label=f"{counted} per bin", shrink=0.9)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title.replace(" ", "\n"))
    save(figure, root / FILE)
    more = f" The first {MOST} of {len(known)} settings." if len(known) > MOST else ""
    text = f"Test structures; energies are relative to the reference energies of the elements. The first seed.{more}"
    return Figure(FILE, "Parity", text, f"{TESTED_STRUCTURES} and {PARITY} in the folder of each run")


def binned(energies: Sequence[np.ndarray]) -> list[Histogram]:
    """Histograms with the same bins of energies [2, M] eV/atom, references and predictions."""
    everything = np.concatenate([each.ravel() for each in energies])
    margin = 0.02 * max(float(np.ptp(everything)), 1e-6)
    edges = np.linspace(everything.min() - margin, everything.max() + margin, BINS + 1)
    return [(edges, np.histogram2d(each[0], each[1], bins=[edges, edges])[0]) for each in energies]


def read(folder: Path) -> tuple[np.ndarray, Histogram] | None:
    """Energies [2, M] eV/atom and the density of forces of a run; None, with a line if it is damaged, without."""
    file, tested = folder / PARITY, TestedStructures.read(folder)
    if tested is None or not file.exists():
        return None
    try:
        forces = load_densities(file)["forces"]
    except Exception as error:  # numpy and zipfile raise errors of many classes
        log.warning("%s is left out: it cannot be read (%s)", file, first_line(error))
        return None
    return (np.stack([tested.energies, tested.predicted]) - tested.zeros) / tested.atoms, forces

"""Predicted against reference energies and forces of each setting, on the same axes."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jointkd.errors import first_line
from jointkd.evaluation.density import load_densities
from jointkd.evaluation.parity import draw
from jointkd.reports.figures import Figure
from jointkd.reports.style import PAGE, figure_of, save

log = logging.getLogger(__name__)

RECORD, FILE = "parity.npz", "parity.png"
MOST = 6  # settings that are drawn
QUANTITIES = {  # and what is counted
    "energies": ("energy, eV/atom", "structures"),
    "forces": ("force component, eV/Å", "components"),
}

Densities = Mapping[str, tuple[np.ndarray, np.ndarray]]


def parity(root: Path, runs: Mapping[str, list[dict[str, Any]]]) -> Figure | None:
    """Draw the densities that the first run of each setting recorded; None where none did. runs: by name."""
    recorded = {name: read(group[0]["folder"] / RECORD) for name, group in runs.items()}
    known = [(name, densities) for name, densities in recorded.items() if densities]
    if not known:
        return None
    panels = known[:MOST]
    figure, axes = figure_of(len(QUANTITIES), len(panels), width=min(PAGE, 2.4 * len(panels) + 0.8), height=2.4)
    for row, (name, (quantity, counted)) in enumerate(QUANTITIES.items()):
        shown = [densities[name] for _, densities in panels]
        ends = min(edges[0] for edges, _ in shown), max(edges[-1] for edges, _ in shown)
        most = max(counts.max() for _, counts in shown)
        for column, (edges, counts) in enumerate(shown):
            axis = axes[row, column]
            mesh = draw(axis, edges, counts, quantity, ends, most)
            if row == 0:
                axis.set_title(panels[column][0])
            if column > 0:
                axis.set_ylabel("")
        figure.colorbar(mesh, ax=axes[row].tolist(), label=f"{counted} per bin", shrink=0.9)
    save(figure, root / FILE)
    more = f" The first {MOST} of {len(known)} settings." if len(known) > MOST else ""
    text = f"Test structures, energies relative to the reference energies of the elements; the first seed.{more}"
    return Figure(FILE, "Parity", text, f"{RECORD} in the folder of each run")


def read(file: Path) -> Densities | None:
    """The densities of a run; None, with a line if the file is damaged, without."""
    if not file.exists():
        return None
    try:
        densities = load_densities(file)
        return {name: densities[name] for name in QUANTITIES}
    except Exception as error:  # numpy and zipfile raise errors of many classes
        log.warning("%s is left out: it cannot be read (%s)", file, first_line(error))
        return None

"""The picture of a data set: six distributions on one page."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import chemical_symbols

if TYPE_CHECKING:
    from jointkd.data.report import Findings

COLORS = {"train": "#4c72b0", "val": "#dd8452", "test": "#55a868"}
MOST_PAIRS, MOST_ELEMENTS = 6, 24


def draw(findings: "Findings", path: Path) -> None:
    """Save the picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.6), layout="constrained")
    panels = figure.subplots(2, 3)
    figure.suptitle(f"{findings.name}: {len(findings.sizes)} structures, {findings.sizes.sum()} atoms")
    draw_elements(panels[0, 0], findings)
    by_split(panels[0, 1], findings, findings.sizes, "atoms per structure", whole=True)
    by_split(panels[0, 2], findings, findings.energies, "energy above a fit per element (eV/atom)")
    by_split(panels[1, 0], findings, findings.forces, "root mean square force of a structure (eV/Å)")
    draw_nearest(panels[1, 1], findings)
    draw_neighbors(panels[1, 2], findings)
    for panel in panels.flat:
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def draw_elements(panel: Any, findings: "Findings") -> None:
    shown = sorted(findings.elements.items(), key=lambda entry: -entry[1][0])[:MOST_ELEMENTS]
    shares = [100 * structures / len(findings.sizes) for _, (structures, _) in shown]
    panel.bar([chemical_symbols[z] for z, _ in shown], shares, color="#8172b3")
    panel.set_ylabel("% of structures with it")
    panel.set_xlabel(f"elements ({len(findings.elements)})")
    if len(shown) > 12:
        panel.tick_params(axis="x", labelsize=7)


def by_split(panel: Any, findings: "Findings", values: np.ndarray | None, label: str, whole: bool = False) -> None:
    """A histogram, splits on top of each other."""
    panel.set_xlabel(label)
    if values is None:
        panel.text(0.5, 0.5, "none in the data", ha="center", va="center", transform=panel.transAxes)
        return
    low, high = float(values.min()), float(values.max())
    if whole:
        step = max(1, round((high - low) / 40))
        edges = np.arange(low - 0.5, high + step + 0.5, step)
    else:
        edges = np.linspace(low, high if high > low else low + 1, 41)
    parts = [values[findings.splits == split] for split in COLORS]
    panel.hist(parts, bins=edges, stacked=True, color=list(COLORS.values()), label=list(COLORS))
    panel.set_ylabel("structures")
    panel.legend(frameon=False)


def draw_nearest(panel: Any, findings: "Findings") -> None:
    for pair, distances in list(findings.nearest.items())[:MOST_PAIRS]:
        panel.hist(distances, bins=60, histtype="step", density=True, linewidth=1.5, label=pair)
    panel.set_xlabel("distance of the nearest atom (Å)")
    panel.set_ylabel("density")
    if findings.nearest:
        panel.legend(frameon=False, fontsize=8)


def draw_neighbors(panel: Any, findings: "Findings") -> None:
    high = int(findings.neighbors.max())
    panel.hist(findings.neighbors, bins=np.arange(-0.5, high + 1.5, max(1, high // 50)), color="#937860")
    panel.set_xlabel(f"neighbours of an atom within {findings.cutoff:g} Å")
    panel.set_ylabel("atoms")

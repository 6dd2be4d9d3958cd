"""The plot of a data set: six distributions on one page."""

from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from jointkd.palette import DARK, DPI, GREY, LIGHT, PAGE, PAIRS, SMALL, SPLITS, STYLE
from jointkd.reports.dataset_findings import Findings

HEIGHT = 4.8  # inches
MAX_ELEMENTS = 24
BINS = 40


def plot_findings(findings: Findings, path: Path) -> None:
    """Save the plot."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = drawn(findings)
    figure.savefig(path, dpi=DPI)


def drawn(findings: Findings) -> Any:
    """The figure."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(PAGE, HEIGHT), layout="constrained")
    panels = figure.subplots(2, 3)
    plot_elements(panels[0, 0], findings)
    step = max(1, round(float(np.ptp(findings.sizes)) / BINS))
    plot_by_split(panels[0, 1], findings, findings.sizes, "atoms per structure", whole_bins(findings.sizes, step))
    plot_by_split(panels[0, 2], findings, findings.energies, "energy relative to a fit (eV/atom)")
    plot_by_split(panels[1, 0], findings, findings.forces, "rms force of a structure (eV/Å)")
    plot_nearest(panels[1, 1], findings)
    plot_neighbors(panels[1, 2], findings)
    figure.suptitle(f"{findings.name}: {len(findings.sizes)} structures, {findings.sizes.sum()} atoms")
    counts = {split: np.count_nonzero(findings.splits == split) for split in SPLITS}
    handles = [Patch(color=color, label=f"{split} ({counts[split]})") for split, color in SPLITS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def plot_elements(panel: Any, findings: Findings) -> None:
    """The share of structures that contain each element, and its share of the atoms."""
    shown = sorted(findings.elements.items(), key=lambda entry: -entry[1][1])[:MAX_ELEMENTS]
    x = np.arange(len(shown))
    structures = [100 * count / len(findings.sizes) for _, (count, _) in shown]
    atoms = [100 * count / findings.sizes.sum() for _, (_, count) in shown]
    panel.bar(x - 0.2, structures, 0.4, color=LIGHT, label="of structures")
    panel.bar(x + 0.2, atoms, 0.4, color=DARK, label="of atoms")
    panel.set_xticks(x, [chemical_symbols[z] for z, _ in shown], fontsize=SMALL if len(shown) < 13 else 5.5)
    panel.set_ylabel("%")
    panel.set_ylim(0, 1.25 * max(structures))
    panel.legend(fontsize=SMALL, ncols=2, loc="upper center")
    more = len(findings.elements) - len(shown)
    panel.set_xlabel(f"elements ({more} more)" if more else "elements")


def plot_by_split(
    panel: Any, findings: Findings, values: np.ndarray | None, label: str, bins: np.ndarray | None = None
) -> None:
    """A histogram with the splits stacked; without given bins, distant outliers are counted and not drawn."""
    panel.set_xlabel(label)
    if values is None:
        panel.text(0.5, 0.5, "none in the data", ha="center", va="center", transform=panel.transAxes)
        return
    if said_as_text(panel, values):
        return
    if bins is None:
        low, high = np.percentile(values, [1, 99])
        low, high = max(values.min(), low - (high - low)), min(values.max(), high + (high - low))
        bins = np.linspace(low, high if high > low else low + 1, BINS + 1)
    if outside := np.count_nonzero((values < bins[0]) | (values > bins[-1])):
        panel.text(0.99, 0.97, f"{outside} outside", ha="right", va="top", fontsize=SMALL, transform=panel.transAxes)
    parts = [values[findings.splits == split] for split in SPLITS]
    panel.hist(parts, bins=bins, stacked=True, color=list(SPLITS.values()))
    panel.set_ylabel("structures")
    panel.yaxis.get_major_locator().set_params(integer=True)


def said_as_text(panel: Any, values: np.ndarray) -> bool:
    """Whether all values are the same, which is then written instead of drawn as a histogram of one bar."""
    same = bool(np.allclose(values, values[0], rtol=1e-6, atol=1e-12))
    if same:
        panel.text(0.5, 0.5, f"all are {values[0]:.4g}", ha="center", va="center", transform=panel.transAxes)
        panel.set_yticks([])
    return same


def whole_bins(values: np.ndarray, step: int) -> np.ndarray:
    """The edges of bins that are centred on integers."""
    return np.arange(values.min() - 0.5, values.max() + step + 0.5, step)


def plot_nearest(panel: Any, findings: Findings) -> None:
    """Nearest-neighbour distances of the most frequent pairs of elements, stacked."""
    panel.set_xlabel("distance of the nearest atom (Å)")
    panel.set_ylabel("atoms")
    shown = dict(list(findings.nearest.items())[: len(PAIRS)])
    if shown:
        colors = PAIRS[: len(shown)]
        panel.hist(list(shown.values()), bins=60, stacked=True, color=colors, label=list(shown))
        panel.legend(loc="upper right", fontsize=SMALL)


def plot_neighbors(panel: Any, findings: Findings) -> None:
    """The numbers of neighbours within the cutoff."""
    panel.set_xlabel(f"neighbours of an atom within {findings.cutoff:g} Å")
    if said_as_text(panel, findings.neighbors):
        return
    step = max(1, round(float(np.ptp(findings.neighbors)) / BINS))
    panel.hist(findings.neighbors, bins=whole_bins(findings.neighbors, step), color=GREY)
    panel.set_ylabel("atoms")

"""A density of predictions and references as a picture; without torch."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.ticker import MaxNLocator

from jointkd.palette import DENSITY, REFERENCE, THIN

COLORS = ListedColormap(matplotlib.colormaps[DENSITY](np.linspace(0.2, 1, 256)))  # without the lightest


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
    axis.plot([first, last], [first, last], color=REFERENCE, linewidth=THIN, linestyle="--", zorder=0)
    axis.set(xlim=(first, last), ylim=(first, last), aspect="equal")
    axis.set_xlabel(f"reference {quantity}")
    axis.set_ylabel(f"predicted {quantity}")
    for each in (axis.xaxis, axis.yaxis):
        each.set_major_locator(MaxNLocator(4))
    return mesh

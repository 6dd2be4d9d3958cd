"""How long structures stay whole with one or several students, as the paper's figure 8 shows it."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot

from jointkd.palette import BLACK, DPI, LINES, PAGE, STYLE, student_colors
from jointkd.simulation.lifetimes import Row, survival

STYLES = ("-", "--", "-.", ":")


@matplotlib.rc_context(STYLE)
def plot_lifetimes(rows: Sequence[Row], path: Path) -> None:
    """A line for each replica, with × where it became unstable, and the share of replicas that are stable over time."""
    students = list(dict.fromkeys(row.student for row in rows))
    figure, (lives, shares) = pyplot.subplots(2, sharex=True, figsize=(0.7 * PAGE, 4.5), layout="constrained")
    colors = student_colors(students)
    end, places = max(row.stable_ps for row in rows), []
    below = 0.0
    for number, student in enumerate(students):
        own = sorted((row for row in rows if row.student == student), key=lambda row: row.stable_ps)
        color = colors[student]
        heights = -below - np.arange(len(own))
        lives.hlines(heights, 0, [row.stable_ps for row in own], color=color, linewidth=min(1.5, 100 / len(rows)))
        broken = [(row.stable_ps, height) for row, height in zip(own, heights, strict=True) if not row.stable]
        lives.plot(*np.array(broken).reshape(-1, 2).T, "x", color=BLACK)
        places.append(float(heights.mean()))
        below += len(own) + 1.5
        times, share = survival([row.stable_ps for row in own], [not row.stable for row in own])
        whole = sum(row.stable for row in own)
        line = LINES.get(student.partition(" ")[0], STYLES[number % len(STYLES)])
        shares.step(
            [*times, end], [*share, share[-1]], where="post", color=color, linestyle=line,
            label=f"{student}: {whole} of {len(own)} stable",
        )  # fmt: skip
    lives.set_yticks(places, students)
    lives.set_ylabel("Trajectories (× unstable)")
    shares.set_ylabel("Share that is stable")
    shares.set_ylim(-0.03, 1.05)
    shares.set_xlabel("Time, ps")
    shares.legend()
    for axis in (lives, shares):
        axis.set_xlim(0, None)
    figure.savefig(path, dpi=DPI)
    pyplot.close(figure)

"""The look of all plots: colours, lines and letters, so that the same thing looks the same in each of them.

The colours are those of Okabe and Ito, which are told apart with every kind of colour vision (a test simulates it). The
grey is darker than theirs, which green and purple look like to those who do not see green. Lines and markers say the
same as colours do, for those who print in grey. Plots are drawn on white, and shown on white in dark pages. No other
part of jointkd is imported here, so that every part may ask.
"""

from collections.abc import Iterable
from typing import Any

BLACK, DARK, GREY, LIGHT = "#000000", "#555555", "#757575", "#c4c4c4"
BLUE, SKY, GREEN, YELLOW = "#0072B2", "#56B4E9", "#009E73", "#F0E442"
ORANGE, VERMILION, PURPLE = "#E69F00", "#D55E00", "#CC79A7"

METHODS = {"none": GREY, "atomic_energy": ORANGE, "hessian": BLUE, "joint": VERMILION}
LINES = {"none": ":", "atomic_energy": "-.", "hessian": "--", "joint": "-"}
MARKERS = {"none": "s", "atomic_energy": "^", "hessian": "D", "joint": "o"}
STUDENTS = (GREEN, PURPLE, SKY)  # of no known method
STUDENT = STUDENTS[0]  # the only one of a plot
REFERENCE, REFERENCE_LINE = BLACK, "-"
TEACHER, TEACHER_LINE = BLACK, "--"
OTHER = DARK  # methods of one's own
CYCLE = (*STUDENTS, BLUE, VERMILION, ORANGE)  # lines that differ in something else than their method
FAILED = VERMILION  # beside a student that has no method
LIMIT, LIMIT_LINE = GREY, ":"  # gates, tolerances, and diagonals beside points
SPLITS = {"train": BLUE, "val": ORANGE, "test": GREEN}
PAIRS = (PURPLE, SKY, VERMILION, YELLOW, BLACK, GREY)  # of elements
DENSITY = "cividis_r"  # matplotlib's name of the colours of densities

PAGE, COLUMN = 7.0, 3.4  # inches: the widths of a page and of a column of a journal; plots are drawn at this size
DPI = 220
THIN = 0.8  # points, of lines that only guide the eye
SMALL = 7  # points, of letters within a plot
STYLE: Any = {  # rcParams of matplotlib
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "figure.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
}


def student_colors(names: Iterable[str]) -> dict[str, str]:
    """The colour of each student: that of its method, with which its name begins, else one that no method has."""
    colors: dict[str, str] = {}
    others = 0
    for name in names:
        method = name.partition(" ")[0]
        colors[name] = METHODS.get(method, STUDENTS[others % len(STUDENTS)])
        others += method not in METHODS
    return colors

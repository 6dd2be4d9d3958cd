"""The look of all plots is in one place, and its colours are told apart with every kind of colour vision."""

import re
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest

import jointkd
from jointkd import palette
from jointkd.simulation import lifetime_plot
from jointkd.simulation.lifetimes import Row

PACKAGE = Path(jointkd.__file__).parent
TOGETHER = {  # what stands in one plot
    "methods, students and teacher": (
        *palette.METHODS.values(),
        *palette.STUDENTS,
        palette.TEACHER,
        palette.OTHER,
    ),
    "lines": palette.CYCLE,
    "splits": tuple(palette.SPLITS.values()),
    "pairs of elements": palette.PAIRS,
    "gates": (palette.FAILED, palette.STUDENT, palette.LIMIT),
}
VISION = {  # of linear RGB; Machado, Oliveira, Fernandes, IEEE Trans. Vis. Comput. Graph. 15, 1291 (2009), severity 1
    "usual": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # of linear sRGB
WHITE = XYZ.sum(1)


def linear(color: str) -> np.ndarray:
    """Linear RGB of #rrggbb."""
    values = np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(color: str, vision: str) -> np.ndarray:
    """CIELAB of a colour as somebody sees it."""
    seen = np.clip(np.array(VISION[vision]) @ linear(color), 0, 1)
    x, y, z = np.cbrt(np.maximum(XYZ @ seen / WHITE, 1e-6))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("together", TOGETHER)
def test_colors_of_one_plot_are_told_apart(together, vision):
    for one, other in combinations(TOGETHER[together], 2):
        assert np.linalg.norm(lab(one, vision) - lab(other, vision)) > 10, (one, other)  # 2 is just noticeable


@pytest.mark.parametrize("color", sorted({*palette.CYCLE, *palette.METHODS.values(), palette.LIMIT, palette.OTHER}))
def test_lines_are_seen_on_white(color):
    assert 1.05 / (linear(color) @ XYZ[1] + 0.05) > 2  # contrast of luminances


def test_no_other_file_has_colors_of_its_own():
    own = re.compile(r"""["']#[0-9a-fA-F]{3,8}["']|color\w*=["'](?!white|none)|["'](tab:|C\d["'])""")
    files = [file for file in PACKAGE.rglob("*.py") if file.name != "palette.py"]
    assert not [str(file) for file in files if own.search(file.read_text(encoding="utf-8"))]


def test_a_student_has_the_color_of_its_method_and_others_one_that_no_method_has():
    colors = palette.student_colors(["mine", "joint seed0", "none", "joint seed1", "other"])
    assert colors["joint seed0"] == colors["joint seed1"] == palette.METHODS["joint"]
    assert colors["none"] == palette.METHODS["none"]
    assert [colors["mine"], colors["other"]] == list(palette.STUDENTS[:2])
    assert not set(palette.STUDENTS) & set(palette.METHODS.values())


def test_lifetimes_are_drawn_in_the_colors_of_methods_and_leave_no_settings_behind(tmp_path, monkeypatch):
    drawn = []
    subplots = lifetime_plot.pyplot.subplots
    monkeypatch.setattr(lifetime_plot.pyplot, "subplots", lambda *a, **k: drawn.append(subplots(*a, **k)) or drawn[-1])
    before = dict(matplotlib.rcParams)
    rows = [Row(name, 0, 0, 9, 300, True, 1.0, 1.0, 0.1, None, "", None, "", "") for name in ("joint", "none", "mine")]
    lifetime_plot.plot_lifetimes(rows, tmp_path / "lifetimes.png")
    ((_, (_, shares)),) = drawn
    expected = [palette.METHODS["joint"], palette.METHODS["none"], palette.STUDENT]
    assert [line.get_color() for line in shares.lines] == expected
    assert [line.get_linestyle() for line in shares.lines][:2] == ["-", ":"]
    assert dict(matplotlib.rcParams) == before

"""What plots of many runs show."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
from matplotlib import pyplot

from jointkd.reports import method_plots, plots
from jointkd.reports.plots import error_bars, history, panels, teacher_lines
from jointkd.reports.runs import read_runs
from jointkd.reports.style import PAGE
from jointkd.reports.tables import names, summarise
from tests.unit.reports.test_tables import is_plotted, reported, run


def test_a_single_seed_has_no_error_bar_beside_settings_with_several():
    several, single = {"mean": 2.0, "std": 0.5}, {"mean": 1.0, "std": None}
    assert error_bars([single]) is None
    bars = error_bars([several, single])
    assert bars is not None
    assert bars[:, 0].tolist() == [0.5, 0.5]
    assert np.isnan(bars[:, 1]).all()


def test_a_single_seed_has_an_error_bar_over_the_test_structures_where_these_were_recorded():
    bars = error_bars([{"mean": 2.0, "std": None, "interval": [1.5, 3.0]}, {"mean": 2.0, "std": 0.5}])
    assert bars is not None
    assert bars.tolist() == [[0.5, 0.5], [1.0, 0.5]]


def test_runs_without_a_teacher_are_drawn_in_the_panels_of_the_teachers_of_their_data(tmp_path):
    for teacher in ("mace", "xtb"):
        run(tmp_path / teacher, "joint", 1.0, teacher=teacher)
    run(tmp_path / "own", "none", 3.0, teacher="xtb")
    run(tmp_path / "none", "none", 2.0, teacher="none")
    run(tmp_path / "other", "none", 2.0, teacher="none", data="pm3m")
    drawn = panels(read_runs(tmp_path))
    assert {column: [(s.method, s.teacher) for s in settings] for column, settings in drawn.items()} == {
        ("demo", "mace"): [("none", "none"), ("joint", "mace")],
        ("demo", "xtb"): [("none", "xtb"), ("joint", "xtb")],
        ("pm3m", "none"): [("none", "none")],
    }
    assert is_plotted((reported(tmp_path), tmp_path / "comparison.png")[1])


def test_each_teacher_has_a_line_at_its_own_error_and_runs_without_one_have_none(tmp_path):
    for teacher in ("mace", "xtb"):
        run(tmp_path / teacher, "joint", 1.0, teacher=teacher)
    run(tmp_path / "none", "none", 2.0, teacher="none")
    runs = read_runs(tmp_path)
    errors = {"mace": 489.0, "xtb": 40.0}
    for setting, group in runs.items():
        group[0]["teacher_test"] = {"force_mae_meV_per_A": errors[setting.teacher]} if setting.teacher in errors else {}
    _, axis = pyplot.subplots()
    teacher_lines(axis, "force_mae_meV_per_A", runs)
    assert sorted(line.get_ydata()[0] for line in axis.lines) == [40.0, 489.0]
    assert {text.get_text() for text in axis.texts} == {"teacher mace 489", "teacher xtb 40"}
    teacher_lines(axis, "energy_mae_meV_per_atom", runs)
    assert len(axis.lines) == 2
    pyplot.close("all")


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, laid out and still open."""
    drawn = []
    for module in (plots, method_plots):
        monkeypatch.setattr(module, "save", lambda figure, path: (figure.savefig(path), drawn.append(figure)))
    yield drawn
    pyplot.close("all")


def test_many_settings_with_long_names_have_room_beside_each_other(tmp_path, figures):
    for rows in range(12):
        config = {"method": {"rows": "mixed", "term": f"an_option_of_{rows}"}, "data": {"batch_size": rows}}
        test = dict.fromkeys(plots.TITLES, 1.0)
        run(tmp_path / f"{rows}", "joint", 1.0, student=f"gemnet_{rows % 2}", config=config, curve=[2, 1], test=test)
    with warnings.catch_warnings(action="error"):  # such as that there is no room
        runs = read_runs(tmp_path)
        method_plots.methods(runs, names(runs), summarise(runs), tmp_path / "plot.png")
    (figure,) = figures
    labels = figure.axes[0].get_yticklabels()
    assert len(labels) == 12
    assert not overlaps(labels)
    assert all(within(figure, text) for text in (*labels, *(axis.title for axis in figure.axes)))


def within(figure, text):
    """Whether a text lies in the figure."""
    box, whole = text.get_window_extent(), figure.bbox
    return box.x0 >= -1 and box.x1 <= whole.x1 + 1 and box.y0 >= -1 and box.y1 <= whole.y1 + 1


def overlaps(texts):
    """Whether a text touches the next one."""
    boxes = [text.get_window_extent() for text in texts]
    return any(first.overlaps(second) for first, second in pairwise(boxes))


def test_many_data_sets_stand_in_rows_as_wide_as_a_page(tmp_path, figures):
    for data in "abcdefg":
        for method in ("hessian", "joint"):
            run(tmp_path / data / method, method, 1.0, data=data)
    runs = read_runs(tmp_path)
    plots.grid(runs, names(runs), summarise(runs), tmp_path / "plot.png")
    (figure,) = figures
    assert figure.get_figwidth() == PAGE
    assert len(figure.axes) == 2 * 7
    assert [axis.get_title()[0] for axis in figure.axes if axis.get_title()] == list("abcdefg")


def test_the_legend_of_a_sweep_covers_no_points(tmp_path, figures):
    for student in "ab":
        for method in ("hessian", "joint"):
            for width in (32, 64):
                run(tmp_path / student / method / str(width), method, 1.0, student=student, width=width)
    runs = read_runs(tmp_path)
    plots.sweep(runs, names(runs), summarise(runs), "width", "parameters, millions", tmp_path / "plot.png")
    (figure,) = figures
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["a hessian", "a joint", "b hessian", "b joint"]
    assert not any(legend.get_window_extent().overlaps(axis.get_window_extent()) for axis in figure.axes)
    assert not any(axis.get_legend() for axis in figure.axes)


def test_a_damaged_line_of_the_metrics_is_left_out_of_the_curve(tmp_path):
    run(tmp_path / "a", "joint", 1.0, curve=[3.0, 2.0])
    with (tmp_path / "a" / "metrics" / "metrics.csv").open("a") as opened:
        opened.write("2,20,1.5e\nnot")
    assert history(tmp_path / "a", "val/energy_mae_meV_per_atom", "epoch") == ([0, 1], [3.0, 2.0])

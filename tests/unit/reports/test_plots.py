"""What plots of many runs show."""

import numpy as np
from matplotlib import pyplot

from jointkd.reports.plots import error_bars, history, panels, teacher_lines
from jointkd.reports.runs import read_runs
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


def test_a_damaged_line_of_the_metrics_is_left_out_of_the_curve(tmp_path):
    run(tmp_path / "a", "joint", 1.0, curve=[3.0, 2.0])
    with (tmp_path / "a" / "metrics" / "metrics.csv").open("a") as opened:
        opened.write("2,20,1.5e\nnot")
    assert history(tmp_path / "a", "val/energy_mae_meV_per_atom", "epoch") == ([0, 1], [3.0, 2.0])

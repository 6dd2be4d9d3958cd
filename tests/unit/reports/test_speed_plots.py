"""Speed in reports: errors against simulated time per day, and what each method costs."""

import json

import numpy as np
import pytest
from matplotlib import pyplot

from jointkd.reports import speed_plots
from jointkd.reports.runs import read_runs
from jointkd.reports.speed_plots import benchmark, overhead, throughput
from jointkd.reports.tables import summarise
from tests.unit.reports.test_tables import run

TRAINING = {
    "student": "painn",
    "atoms": 100,
    "none": {"cpu_ms": 10.0, "of_none": 1.0},
    "hessian s=1": {"cpu_ms": 24.0, "of_none": 2.4},
    "joint s=1": {"cpu_ms": 24.1, "of_none": 2.41},
    "atomic_energy_overhead s=1": 0.0042,
    "matrix_product_ms": 16.0,
}


@pytest.fixture
def drawn(monkeypatch):
    """The axes of the figures that are drawn, which are not saved."""
    axes = []
    monkeypatch.setattr(speed_plots, "save", lambda figure, path: axes.extend(figure.axes))
    yield axes
    pyplot.close("all")


def timed(folder, **ms):
    """Write the times of a step of 24 and of 90 atoms by force field."""
    rows = [{"atoms": n, "force_field": name, "ms": ms[name] * n / 24} for name in ms for n in (24, 90)]
    (folder / "speed.json").write_text(json.dumps({"dynamics": rows}))


def test_errors_are_drawn_against_the_speed_for_the_largest_structure_that_all_students_were_timed_on(tmp_path, drawn):
    for width, ms in ((32, 1.0), (64, 2.0)):
        for method, energy in (("hessian", 4.0), ("joint", 2.0)):
            folder = tmp_path / f"{width}{method}"
            own = {"energy_mae_meV_per_atom": 1.5, "force_mae_meV_per_A": 5.0}
            run(folder, method, energy, width=width, parameters=1000 * width**2, teacher_test=own)
            timed(folder, student=ms, mace=16.0)
    (tmp_path / "64joint" / "speed.json").write_text(
        json.dumps({"dynamics": [{"atoms": 24, "force_field": "student", "ms": 2.0}]})
    )
    runs = read_runs(tmp_path)
    figure = throughput(tmp_path, runs, summarise(runs))
    assert figure is not None
    assert figure.table is not None
    assert figure.table.rows[0] == ["hessian width=32", "1", "24", "1", "86.4", "16"]
    energies = drawn[0]
    dots = sorted(tuple(map(float, each.get_offsets()[0])) for each in energies.collections)
    np.testing.assert_allclose(dots, [(5.4, 1.5), (43.2, 2.0), (43.2, 4.0), (86.4, 2.0), (86.4, 4.0)])
    assert {text.get_text() for text in energies.texts} == {"1M", "4.1M"}
    assert energies.get_xlabel() == "simulated time, ns/day (24 atoms, 1 fs steps)"


def test_without_measured_speeds_nothing_is_drawn(tmp_path, drawn):
    run(tmp_path / "a", "joint", 1.0)
    runs = read_runs(tmp_path)
    assert throughput(tmp_path, runs, summarise(runs)) is None
    assert benchmark(tmp_path) is None
    assert drawn == []


def test_the_cost_of_each_method_is_a_bar_with_the_change_by_the_atomic_energies(tmp_path, drawn):
    overhead(TRAINING, tmp_path / "overhead.png")
    (axis,) = drawn
    assert [bar.get_height() for bar in axis.patches] == [10.0, 24.0, 24.1]
    assert [text.get_text() for text in axis.texts] == ["1×", "2.4×", "2.41×\n(+0.42 %)"]
    assert axis.get_ylabel() == "training step, ms"


def test_the_report_finds_the_benchmark_of_training_below_its_folder(tmp_path, drawn):
    for name, content in (("a", {"dynamics": []}), ("b", {"training": TRAINING}), ("c", "damaged")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bench.json").write_text(json.dumps(content))
    figure = benchmark(tmp_path)
    assert figure is not None
    assert figure.data == "b/bench.json"

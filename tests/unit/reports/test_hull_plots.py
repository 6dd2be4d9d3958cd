"""Distances to the convex hull in reports. Needs pymatgen, of the extra `hull`."""

import csv

import numpy as np
import pytest

from jointkd.reports.comparison import write_comparison
from jointkd.reports.hull_plots import hull
from tests.unit.reports.test_tables import run

pytest.importorskip("pymatgen.analysis.phase_diagram", reason="pymatgen is not installed")

NAMES = "formula,atoms,energy_eV,predicted_energy_eV,zero_eV,force_mae_meV_per_A\n"


def recorded(folder, method="joint", seed=0, error=0.0, crystals=True, phases=True):
    """A run with two CuAu, -0.4 and -0.3 eV/atom, whose reference and predicted energies are 1 eV/atom apart.

    error: of the second one beside that, eV/atom; phases: whether training data have the elements.
    """
    origin = "fcc.xyz" if phases else "reference energy, not a structure"
    elements = {symbol: {"energy": 0.0, "predicted": 1.0, "origin": origin} for symbol in ("Au", "Cu")}
    run(folder, method, 1.0, seed=seed, elements=elements, crystals=crystals)
    (folder / "test.csv").write_text(NAMES + f"AuCu,2,-0.8,1.2,0,0\nAu2Cu2,4,-1.2,{2.8 + 4 * error},0,0\n")
    return {"folder": folder, "seed": seed, "elements": elements, "crystals": crystals}


def table(folder):
    with (folder / "hull.csv").open() as opened:
        return [list(map(float, row[3:])) for row in list(csv.reader(opened))[1:]]


def test_each_structure_has_its_distance_from_the_hull_of_its_own_side(tmp_path):
    first, second = recorded(tmp_path / "a", error=0.06), recorded(tmp_path / "b", seed=1, error=-0.09)
    figure = hull(tmp_path, {"joint": [first, second]}, 0.025)
    assert figure is not None
    assert figure.table is not None
    np.testing.assert_allclose(table(tmp_path), [[0, 0], [0.1, 0.16], [0, 0], [0.1, 0.01]])
    assert figure.table.rows == [["joint", "4", "37.5", "2", "0.667", "1", "0.8"]]
    assert "the test structures and the reference phases of the elements" in figure.caption


def test_elements_at_energies_that_were_given_are_phases_of_both_sides(tmp_path):
    figure = hull(tmp_path, {"joint": [recorded(tmp_path / "a", phases=False)]}, 0.025, {"Cu": -9.0, "Au": 0.0})
    np.testing.assert_allclose(table(tmp_path), [[4.1, 5.1], [4.2, 5.2]])
    assert "those of the elements that were given" in figure.caption


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"crystals": False}, "its test structures are not all crystals, periodic in three directions"),
        ({"phases": False}, "give their energies with elements="),
    ],
)
def test_a_line_says_why_there_are_no_distances(tmp_path, caplog, options, reason):
    assert hull(tmp_path, {"joint": [recorded(tmp_path / "a", **options)]}, 0.025) is None
    assert reason in caplog.text
    assert not (tmp_path / "hull.csv").exists()


def test_the_page_has_distances_where_they_are_asked_for(tmp_path):
    for method, error in (("none", 0.06), ("joint", 0.0)):
        recorded(tmp_path / method, method, error=error)
    write_comparison(tmp_path)
    assert "convex hull" not in (tmp_path / "report.html").read_text()
    write_comparison(tmp_path, hull=0.025)
    page = (tmp_path / "report.html").read_text()
    assert "Distance to the convex hull" in page
    assert "<strong>0</strong>" in page  # the error of the better one

"""Distances to the convex hull, against hulls made by hand. Needs pymatgen, of the extra `hull`."""

import sys

import numpy as np
import pytest
from ase.build import bulk, molecule

from jointkd.errors import ConfigError, MissingExtra
from jointkd.evaluation.errors import Errors
from jointkd.evaluation.hull import METRICS, agreement, check_hull, hull_distances
from jointkd.evaluation.predictions import Predicted
from jointkd.structures.frame import Frame

# eV/atom relative to the elements, of which Cu is a phase of its own: the hull goes from Cu by CuAu (-0.4) to Au
FORMULAS = ["Au", "Au2", "AuCu3", "AuCu", "Au2Cu2", "Au3Cu", "NiCu"]
PER_ATOM = np.array([0.0, 0.1, -0.15, -0.4, -0.3, 0.05, -9.0])
ATOMS = np.array([1, 2, 4, 2, 4, 4, 2])
ABOVE = [0.0, 0.1, -0.15 + 0.2, 0.0, 0.1, 0.05 + 0.2, np.nan]  # there is no nickel


@pytest.fixture
def pymatgen():
    pytest.importorskip("pymatgen.analysis.phase_diagram", reason="pymatgen is not installed")


@pytest.mark.usefixtures("pymatgen")
def test_distances_are_those_to_a_binary_hull_made_by_hand():
    np.testing.assert_allclose(hull_distances(FORMULAS, PER_ATOM * ATOMS, {"Cu": 0.0}), ABOVE, atol=1e-12)
    assert np.isnan(hull_distances(FORMULAS, PER_ATOM * ATOMS, {})[2:]).all()


@pytest.mark.usefixtures("pymatgen")
def test_an_error_that_phases_share_per_atom_of_an_element_cancels():
    gold = np.array([1, 2, 1, 1, 2, 3, 0])
    shifted = PER_ATOM * ATOMS + 0.7 * gold - 12.3 * (ATOMS - gold)
    np.testing.assert_allclose(hull_distances(FORMULAS, shifted, {"Cu": -12.3}), ABOVE, atol=1e-12)


@pytest.mark.usefixtures("pymatgen")
def test_a_compound_may_decompose_into_compounds_of_fewer_elements():
    elements = dict.fromkeys(("Li", "Fe", "O"), 0.0)
    energies = np.array([3 * -2.0, 5 * -1.5, 4 * -1.0])
    found = hull_distances(["Li2O", "Fe2O3", "LiFeO2"], energies, elements)  # 2 LiFeO2 = Li2O + Fe2O3
    np.testing.assert_allclose(found, [0, 0, (2 * 4 * -1.0 + 6.0 + 7.5) / 8], atol=1e-12)
    found = hull_distances(["Li2O", "Fe2O3", "LiFeO2", "Li2Fe2O4"], np.array([*energies, 8 * -1.8]), elements)
    np.testing.assert_allclose(found, [0, 0, 0.8, 0], atol=1e-12)  # the second phase of this composition is stable


@pytest.mark.usefixtures("pymatgen")
def test_rounding_gives_no_distance_below_the_hull():
    atoms = np.arange(1, 60)
    formulas = [f"Au{count}Cu{60 - count}" for count in atoms]
    energies = -60 * (0.1 + 0.3 * (atoms / 60) * (1 - atoms / 60))  # all are on the hull
    assert (found := hull_distances(formulas, energies, {"Au": 0.0, "Cu": 0.0})).min() == 0
    assert found.max() < 1e-12


@pytest.mark.usefixtures("pymatgen")
def test_what_has_no_energy_is_no_phase():
    found = hull_distances(["Au", "Au", "Au"], np.array([0.2, np.nan, 0.1]), {})
    np.testing.assert_allclose(found, [0.1, np.nan, 0.0], atol=1e-12)


def test_agreement_counts_what_is_within_the_limit_as_stable():
    reference = np.array([0.0, 0.024, 0.026, 0.3, np.nan])
    predicted = np.array([0.0, 0.026, 0.024, 0.1, 0.0])
    above, below = (sums.sum(0) for sums in agreement(reference, predicted, 0.025))
    assert dict(zip(METRICS, above / below, strict=True)) == pytest.approx(
        {
            "hull_distance_mae_meV_per_atom": (2 + 2 + 200) / 4,
            "stable_precision": 1 / 2,
            "stable_recall": 1 / 2,
            "stable_f1": 1 / 2,
        }
    )


def predicted(atoms, energy: float | None, error: float) -> Predicted:
    """A structure of this energy per atom, which is predicted with this error per atom."""
    total = None if energy is None else energy * len(atoms)
    frame = Frame(atoms.numbers.astype(np.int64), atoms.positions, atoms.cell.array, atoms.pbc, energy=total)
    return Predicted(frame, ((energy or 0.0) + error) * len(atoms), np.zeros(len(atoms)), np.zeros((len(atoms), 3)))


@pytest.mark.usefixtures("pymatgen")
def test_each_side_has_a_hull_of_its_own_to_which_only_crystals_with_energies_belong():
    errors = Errors(hull=0.025)
    slab = bulk("Cu", cubic=True)
    slab.pbc = (True, True, False)
    for each in (
        predicted(bulk("Cu"), -3.0, 1.0),  # elements and compounds are all off by 1 eV/atom
        predicted(bulk("Au"), -3.0, 1.0),
        predicted(bulk("CuAu", "rocksalt", a=5.0), -3.4, 1.0),
        predicted(bulk("CuAu", "rocksalt", a=5.2), -3.3, 0.95),  # 50 meV/atom lower than it should be
        predicted(slab, -9.0, 0.0),
        predicted(molecule("CO"), -9.0, 0.0),
        predicted(bulk("Cu"), None, -9.0),
    ):
        errors.add(each)
    assert errors.counts()["structures_with_hull_distance"] == 4
    metrics = errors.metrics()
    assert metrics["hull_distance_mae_meV_per_atom"] == pytest.approx(50 / 4)
    assert {metrics[name] for name in METRICS[1:]} == {1.0}
    assert set(METRICS) <= set(errors.intervals(errors.replicates(0)))


def test_distances_are_compared_only_where_they_are_asked_for():
    errors = Errors()
    errors.add(predicted(bulk("Cu"), -3.0, 1.0))
    assert errors.counts()["structures_with_hull_distance"] == 0
    assert not set(METRICS) & set(errors.metrics())


def test_without_pymatgen_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymatgen.analysis.phase_diagram", None)
    with pytest.raises(MissingExtra, match=r"hull=0 needs pymatgen; pip install 'jointkd\[hull\]'"):
        check_hull(0)
    check_hull(None)


def test_hull_is_an_energy():
    with pytest.raises(ConfigError, match="hull=True must be a number of at least 0 in eV/atom"):
        check_hull(True)

"""Paths, and errors along them."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from jointkd.errors import ConfigError, DataError
from jointkd.simulation.dihedrals import Dihedral
from jointkd.simulation.path_errors import Samples, errors_along, sample, samples_of
from jointkd.simulation.paths import PathOptions, draw_paths, line, translation, turn
from tests.torsion import DIHEDRAL, PEROXIDE, Torsion

ETHANOL = molecule("CH3CH2OH")


def of_peroxide(steps: int = 24):
    return turn(PEROXIDE, Dihedral.of(PEROXIDE, DIHEDRAL, "peroxide"), steps, "peroxide")


@pytest.mark.parametrize(
    "path",
    [
        of_peroxide(400),
        translation(bulk("Cu", cubic=True), 2, [1, 0, -1], 400, "copper"),
        line(ETHANOL, 3.0, 400, np.random.default_rng(0), "ethanol"),
    ],
    ids=["turn", "translation", "line"],
)
def test_tangents_are_the_derivatives_of_positions_along_the_path(path):
    positions = np.stack([atoms.positions for atoms in path.structures])
    step = path.length / len(positions)
    slopes = (positions[2:] - positions[:-2]) / (2 * step)
    np.testing.assert_allclose(slopes, path.tangents[1:-1], atol=1e-4)


def test_a_turn_and_a_translation_end_where_they_begin():
    path = of_peroxide()
    assert (path.length, path.unit, path.periodic) == (2 * np.pi, "rad", True)
    copper = bulk("Cu", cubic=True)
    moved = translation(copper, 0, [0, 1, 0], 10, "copper")
    assert moved.length == pytest.approx(copper.cell.lengths()[1])
    np.testing.assert_allclose(moved.structures[5].positions[0], copper.positions[0] + copper.cell.array[1] / 2)
    np.testing.assert_array_equal(moved.structures[5].positions[1:], copper.positions[1:])


def test_a_line_has_its_length_in_all_coordinates_together_and_its_centre_rests():
    path = line(ETHANOL, 2.0, 50, np.random.default_rng(0), "ethanol")
    assert not path.periodic
    ends = path.structures[-1].positions - path.structures[0].positions
    assert np.linalg.norm(ends) == pytest.approx(2.0 * 49 / 50)
    np.testing.assert_allclose(ends.mean(axis=0), 0, atol=1e-12)
    middle = (path.structures[-1].positions + path.structures[0].positions) / 2
    np.testing.assert_allclose(middle, ETHANOL.positions, atol=1e-12)


def test_forces_along_a_turn_are_the_derivative_of_the_energy():
    path = of_peroxide(48)
    found = sample(path, Torsion((0.3, 2, 25.0)))
    angle = 2 * np.pi * np.arange(48) / 48
    np.testing.assert_allclose(found.forces, 0.3 * np.sin(2 * angle - np.radians(25)), atol=1e-6)
    assert found.atomic is not None
    np.testing.assert_allclose(found.atomic.sum(axis=1), found.energies)


def test_the_error_along_a_turn_has_the_modes_of_the_difference_of_both_torsions():
    path = of_peroxide(32)
    calculators = {"student": Torsion((0.30, 1, 0.0), (0.05, 6, 0.0), constant=4.0), "teacher": Torsion((0.10, 1, 0.0))}
    found = samples_of([path], calculators)
    errors = errors_along(path, found["student"][0], found["teacher"][0], {}, {1: 0.0, 8: 0.0}, conservative=True)
    omega, power = errors.powers()
    np.testing.assert_allclose(omega[:7], np.arange(7))
    expected = np.zeros(17)
    expected[0], expected[1], expected[6] = (4.0 + 0.10 + 0.025) ** 2, 0.10**2 / 2, 0.025**2 / 2
    np.testing.assert_allclose(power, expected, atol=1e-9)
    assert errors.mismatch() == pytest.approx(0, abs=1e-6)
    assert errors.atomic == pytest.approx(power.sum() / 4)  # the four atoms have equal errors
    assert errors.bound()[0] / 2 == pytest.approx(power.sum(), rel=1e-3)


def test_both_zeros_are_taken_from_the_energies_of_atoms():
    path = of_peroxide(8)
    student = Samples(np.full(8, -3.0), np.tile([-1.0, -1.0, -0.5, -0.5], (8, 1)), np.zeros(8))
    teacher = Samples(np.full(8, -100.0), np.tile([2.0, 2.0, 1.0, 1.0], (8, 1)), np.zeros(8))
    errors = errors_along(path, student, teacher, {8: -1.5, 1: -1.0}, {8: 1.6, 1: 0.7}, conservative=False)
    # oxygen: 0.5 − 0.4, hydrogen: 0.5 − 0.3
    np.testing.assert_allclose(errors.energies, 2 * 0.1 + 2 * 0.2)
    assert errors.atomic == pytest.approx(2 * 0.1**2 + 2 * 0.2**2)
    assert errors.forces is errors.mismatch() is None
    apart = errors_along(path, student, teacher, {}, None, conservative=True)
    np.testing.assert_allclose(apart.energies, 97.0)
    assert apart.atomic is apart.bound() is None


def test_the_bound_holds_through_a_window_too():
    path = line(ETHANOL, 0.5, 16, np.random.default_rng(0), "ethanol")
    shapes = np.random.default_rng(1).normal(size=(16, 1)) * np.linspace(
        1, 2, 9
    )  # all atoms err alike: it is nearly tight
    teacher = Samples(np.zeros(16), np.zeros((16, 9)), np.zeros(16))
    errors = errors_along(path, Samples(shapes.sum(1), shapes, np.zeros(16)), teacher, {}, {}, conservative=False)
    _, power = errors.powers()
    assert (power <= errors.bound()).all()
    assert power.sum() == pytest.approx(9 * errors.atomic, rel=0.1)
    assert power.sum() <= 9 * errors.atomic


def test_too_few_samples_are_noticed_by_the_forces():
    path = of_peroxide(8)
    found = samples_of([path], {"student": Torsion((0.2, 5, 10.0)), "teacher": Torsion((0.1, 1, 0.0))})
    errors = errors_along(path, found["student"][0], found["teacher"][0], {}, None, conservative=True)
    assert errors.mismatch() > 0.5


def test_turns_of_all_bonds_are_drawn_and_those_that_collide_are_left_out(caplog):
    caplog.set_level("INFO")
    paths = draw_paths([ETHANOL, ETHANOL], ["a", "b"], PathOptions(steps=12))
    assert [path.title for path in paths] == [
        f"{name}: {four}" for name in "ab" for four in ("H6-C0-C1-O2", "C0-C1-O2-H3")
    ]
    assert len(draw_paths([ETHANOL] * 4, list("abcd"), PathOptions(steps=12, paths=3))) == 3
    there = turn(ETHANOL, Dihedral.of(ETHANOL, [0, 1, 2, 3], ""), 12, "").structures[4].positions
    crowded = ETHANOL + Atoms("He", [there[3] + 0.5 * (there[3] - there[2])])  # in the way of the hydroxyl's hydrogen
    kept = draw_paths([crowded, ETHANOL], ["crowded", "free"], PathOptions(steps=12))
    assert [path.title for path in kept] == ["free: H6-C0-C1-O2", "free: C0-C1-O2-H3"]
    assert "2 turns along which atoms that are not bonded collide are left out" in caplog.text
    with pytest.raises(DataError, match="no path is left: 1 bonds can turn"):
        draw_paths([crowded], ["crowded"], PathOptions(steps=12, dihedral=[0, 1, 2, 3]))


def test_what_cannot_be_a_path_is_refused():
    copper = bulk("Cu", cubic=True)
    for options, structure in (({"atom": 9}, copper), ({"vector": (0, 0, 0)}, copper), ({"vector": (1, 0)}, copper)):
        with pytest.raises(ConfigError, match=next(iter(options))):
            draw_paths([structure], ["it"], PathOptions(along="translations", **options))
    with pytest.raises(DataError, match="not periodic along"):
        draw_paths([ETHANOL], ["ethanol"], PathOptions(along="translations"))
    with pytest.raises(DataError, match="copper is periodic, and dihedrals are turned in molecules"):
        draw_paths([copper], ["copper"], PathOptions())
    for wrong in ({"along": "circles"}, {"steps": 7}, {"paths": 0}, {"length": 0.0}, {"seed": -1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            PathOptions(**wrong)

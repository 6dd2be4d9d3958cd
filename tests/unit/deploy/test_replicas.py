"""Several structures at once have the results of each alone, also where one of them is lost."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from jointkd.deploy.ase import JointKD
from jointkd.deploy.model import load_model
from jointkd.deploy.replicas import ReplicaCalculator, ReplicaEvaluator, joined
from jointkd.errors import DataError
from tests.structures import ETHANOL, TRICLINIC, WATER
from tests.uncertain import with_uncertainty
from tests.unit.deploy.test_ase import CONSERVATIVE, GEMNET, PAINN, student_file

STUDENTS = [*CONSERVATIVE, PAINN, GEMNET, {**CONSERVATIVE[0], "max_neighbors": 6}]
NAMES = ["painn", "gemnet_t", "painn with a force head", "gemnet_dt", "painn with a cap"]


def several() -> list[Atoms]:
    """Structures of different size, elements and cell, among them an atom without neighbours."""
    salt = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    small = Atoms("NaCl", [[0, 0, 0], [1.9, 1.9, 1.7]], cell=3.7 * np.array(TRICLINIC), pbc=True)
    slab = Atoms("NaCl", [[0, 0, 0], [0, 0, 2.5]], cell=[4, 4, 0], pbc=[1, 1, 0])
    structures = [ETHANOL.copy(), salt, Atoms("H", [[1, 2, 3]]), small, WATER.copy(), slab]
    for number, atoms in enumerate(structures):
        atoms.rattle(0.05, seed=number)
    return structures


@pytest.mark.parametrize(
    ("config", "dtype", "tolerance"),
    [*((config, "float64", 1e-12) for config in STUDENTS), *((config, "float32", 1e-5) for config in CONSERVATIVE)],
    ids=[*NAMES, "painn in float32", "gemnet_t in float32"],
)
def test_several_structures_have_the_results_of_each_alone_as_they_move(tmp_path, config, dtype, tolerance):
    file = with_uncertainty(student_file(tmp_path, config))
    structures = several()
    evaluator = ReplicaEvaluator(load_model(file, None, dtype, None), structures)
    alone = JointKD(file, dtype=dtype)
    for step in range(3):
        results = evaluator(np.concatenate([atoms.positions for atoms in structures]))
        assert results.energies.shape == (len(structures),)
        for number, atoms in enumerate(structures):
            expected = alone.force_field.evaluator(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
            size = max(1.0, np.abs(expected.forces).max(), np.abs(expected.atomic_energies).max())
            place = evaluator.atoms_of(number)
            np.testing.assert_allclose(results.forces[place], expected.forces, atol=tolerance * size)
            np.testing.assert_allclose(results.atomic_energies[place], expected.atomic_energies, atol=tolerance * size)
            own = results.force_uncertainty[place]
            np.testing.assert_allclose(own, expected.force_uncertainty, rtol=1e3 * tolerance)
            assert np.isinf(own[~np.isin(atoms.numbers, ETHANOL.numbers)]).all()
            total = expected.atomic_energies.sum()
            assert results.energies[number] == pytest.approx(total, abs=tolerance * size * len(atoms))
            atoms.rattle(0.3, seed=10 * step + number)  # within the skin and beyond it


@pytest.mark.parametrize("place", [np.nan, np.inf, 1e6], ids=str)
@pytest.mark.parametrize("config", CONSERVATIVE, ids=NAMES[:2])
def test_a_structure_that_is_lost_does_not_change_the_others(tmp_path, config, place):
    structures = several()
    file = with_uncertainty(student_file(tmp_path, config))
    evaluator = ReplicaEvaluator(load_model(file, None, "float64", None), structures)
    positions = np.concatenate([atoms.positions for atoms in structures])
    before = evaluator(positions)
    lost = evaluator.atoms_of(0)
    positions[lost.start + 2, 1] = place
    after = evaluator(positions)
    others = np.ones(len(positions), dtype=bool)
    others[lost] = False
    assert np.isnan(after.forces[lost]).all()
    assert np.isnan(after.force_uncertainty[lost]).all()
    np.testing.assert_allclose(after.force_uncertainty[others], before.force_uncertainty[others], rtol=1e-9)
    assert np.isnan(after.energies[0])
    np.testing.assert_allclose(after.forces[others], before.forces[others], atol=1e-12)
    np.testing.assert_allclose(after.energies[1:], before.energies[1:], atol=1e-12)


@pytest.mark.parametrize("config", STUDENTS, ids=NAMES)
def test_atoms_that_coincide_do_not_change_the_other_structures(tmp_path, config):
    structures = several()
    evaluator = ReplicaEvaluator(load_model(student_file(tmp_path, config), None, "float64", None), structures)
    positions = np.concatenate([atoms.positions for atoms in structures])
    before = evaluator(positions)
    collapsed = evaluator.atoms_of(0)
    positions[collapsed] = positions[collapsed][:1]
    after = evaluator(positions)
    np.testing.assert_allclose(after.forces[collapsed.stop :], before.forces[collapsed.stop :], atol=1e-12)


def test_the_calculator_has_total_energies_of_each_structure_and_of_all(tmp_path):
    file = student_file(tmp_path, CONSERVATIVE[0])
    structures = several()
    atoms = joined(structures)
    atoms.calc = ReplicaCalculator(load_model(file, None, "float64", None), structures)
    totals = []
    for each in structures:
        each.calc = JointKD(file, dtype="float64")
        totals.append(each.get_potential_energy())
    assert atoms.get_potential_energy() == pytest.approx(sum(totals), abs=1e-9)
    np.testing.assert_allclose(atoms.calc.results["replica_energies"], totals, atol=1e-10)
    forces = np.concatenate([each.get_forces() for each in structures])
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-12)


def test_forgotten_neighbours_are_searched_anew(tmp_path):
    structures = several()
    calculator = ReplicaCalculator(
        load_model(student_file(tmp_path, CONSERVATIVE[0]), None, "float64", None), structures
    )
    atoms = joined(structures)
    atoms.calc = calculator
    before = atoms.get_forces()
    calculator.forget()
    np.testing.assert_allclose(atoms.get_forces(), before, atol=1e-12)
    assert [near.searches for near in calculator.evaluator.together.neighbors] == [1] * len(structures)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms("Xe"), "the student was not trained on Xe; give structures of H C O Na Cl"),
        (Atoms("H", [[np.nan, 0, 0]]), "positions of atoms are not finite"),
        (Atoms("H", cell=[1, 0, 0], pbc=True), "the neighbours of a structure cannot be found: it is periodic along b"),
    ],
    ids=["element", "position", "cell"],
)
def test_a_structure_that_the_student_cannot_evaluate_is_refused_at_once(tmp_path, atoms, message):
    model = load_model(student_file(tmp_path, CONSERVATIVE[0]), None, None, None)
    with pytest.raises(DataError, match=message):
        ReplicaEvaluator(model, [WATER, atoms])

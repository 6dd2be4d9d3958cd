"""The evaluator of all deployment: neighbours with a skin change nothing, and one gradient gives forces and virial."""

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from jointkd.deploy.ase import JointKD
from jointkd.deploy.skin import SkinNeighbors
from tests.structures import ETHANOL, SPECIAL
from tests.unit.deploy.test_ase import CONSERVATIVE, GEMNET, PAINN, student_file

STUDENTS = [*CONSERVATIVE, PAINN, GEMNET]
NAMES = ["painn", "gemnet_t", "painn with a force head", "gemnet_dt"]


def salt() -> Atoms:
    """Rock salt at 600 K, with atoms at the faces of its cell."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    spread = np.sqrt(600 * units.kB * atoms.get_masses())[:, None]
    atoms.set_momenta(spread * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    return atoms


@pytest.mark.slow
def test_1000_steps_of_nve_with_and_without_skin_agree_and_few_search(tmp_path):
    file = student_file(tmp_path, {**CONSERVATIVE[0], "layers": 1, "width": 4})
    ends = []
    for skin in (1.0, 0.0):
        atoms = salt()
        atoms.calc = JointKD(file, dtype="float64")
        near = atoms.calc.force_field.evaluator.neighbors = SkinNeighbors(4.0, skin)
        dynamics = VelocityVerlet(atoms, timestep=0.5 * units.fs)
        for _ in range(100):
            dynamics.run(10)
            atoms.wrap()
        ends.append((atoms.get_total_energy() / len(atoms), near.searches))
    (with_skin, searches), (without, all_searches) = ends
    assert with_skin == pytest.approx(without, abs=1e-5)
    assert 1 < searches <= 100 < 1000 < all_searches


@pytest.mark.parametrize("config", STUDENTS, ids=NAMES)
def test_results_do_not_depend_on_the_skin(tmp_path, config):
    calculators = [JointKD(student_file(tmp_path, config), dtype="float64") for _ in range(2)]
    calculators[1].force_field.evaluator.neighbors = SkinNeighbors(4.0, 0.0)
    for atoms in (salt(), ETHANOL.copy(), *SPECIAL.values()):
        for _ in range(2):
            atoms.positions += 0.02
            atoms.wrap()
            found, expected = (results(calculator, atoms) for calculator in calculators)
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                np.testing.assert_allclose(found[name], value, atol=1e-10 * max(1, np.abs(value).max()))


def results(calculator: JointKD, atoms: Atoms) -> dict[str, Any]:
    """All results for a structure, elements that the student knows by their number."""
    atoms = atoms.copy()
    calculator.force_field.references = {}
    calculator.calculate(atoms)
    return calculator.results


@pytest.mark.parametrize("config", STUDENTS, ids=NAMES)
@pytest.mark.parametrize("atoms", [Atoms("H"), Atoms("H2", [[0, 0, 0], [50, 0, 0]])], ids=["one atom", "no edges"])
def test_atoms_without_neighbours_have_their_reference_energies_and_no_forces(tmp_path, config, atoms):
    atoms = atoms.copy()
    atoms.calc = JointKD(student_file(tmp_path, config))
    assert atoms.get_potential_energy() == pytest.approx(-13.0 * len(atoms), abs=1e-5)
    assert not atoms.get_forces().any()


def test_a_step_takes_one_gradient_by_the_vectors_of_pairs(tmp_path, monkeypatch):
    atoms = salt()
    atoms.calc = JointKD(student_file(tmp_path, CONSERVATIVE[0]))
    asked: list[tuple[int, ...]] = []
    gradient = torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd, "grad", lambda total, by, **more: asked.append(tuple(by.shape)) or gradient(total, by, **more)
    )
    atoms.get_stress()
    atoms.get_forces()
    pairs = atoms.calc.force_field.evaluator.neighbors.pairs(atoms.positions, atoms.cell.array, atoms.pbc)
    assert asked == [pairs.vectors.shape]

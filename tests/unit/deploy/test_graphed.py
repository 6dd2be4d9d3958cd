"""The evaluator of a GPU, here on a CPU and thus without its graph: it gives what the general one gives."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from jointkd.deploy.ase import JointKD
from jointkd.deploy.evaluator import Evaluator
from jointkd.deploy.graphed import GraphedEvaluator
from jointkd.deploy.graphed_systems import GraphedSystems
from jointkd.deploy.model import Model, load_model
from jointkd.deploy.replicas import ReplicaEvaluator
from jointkd.deploy.skin import SkinNeighbors
from jointkd.deploy.tracing import TraceableForm
from jointkd.students import kernels
from tests.structures import ETHANOL, SPECIAL, WATER
from tests.uncertain import with_uncertainty
from tests.unit.deploy.test_ase import CONSERVATIVE, student_file
from tests.unit.deploy.test_evaluator import NAMES, STUDENTS, salt
from tests.unit.deploy.test_replicas import several


@pytest.fixture(autouse=True)
def _without_kernels():
    with kernels.disabled():
        yield


def evaluators(file: Path) -> tuple[Evaluator, GraphedEvaluator]:
    """The general one, and that of a GPU."""
    model = load_model(file, "cpu", "float64", ())
    near = SkinNeighbors(model.cutoff, 0.0)
    return Evaluator(model.form, near, "cpu", model.dtype), GraphedEvaluator(systems_of(model))


def systems_of(model: Model) -> GraphedSystems:
    """What `evaluators` makes of a model on a GPU."""
    return GraphedSystems(TraceableForm(model.student, model.uncertainty), model.cutoff, "cpu", model.dtype)


@pytest.fixture
def _replicas_as_on_a_gpu(monkeypatch):
    monkeypatch.setattr("jointkd.deploy.replicas.graphed_systems_of", systems_of)


def arguments(atoms: Atoms):
    return atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc


@pytest.mark.parametrize("large", [False, True], ids=["", "as a large structure"])
@pytest.mark.parametrize("config", STUDENTS, ids=NAMES)
def test_results_are_those_of_the_general_evaluator_for_one_system_after_another(tmp_path, config, large, monkeypatch):
    if large:
        monkeypatch.setattr("jointkd.deploy.graphed_systems.LARGE", 0)
    general, graphed = evaluators(with_uncertainty(student_file(tmp_path, config)))
    for atoms in (salt(), ETHANOL.copy(), Atoms("H"), WATER.copy(), *SPECIAL.values()):
        for _ in range(2):
            atoms = atoms.copy()
            atoms.positions += 0.02
            atoms.wrap()
            for found, expected in zip(graphed(*arguments(atoms)), general(*arguments(atoms)), strict=True):
                largest = np.abs(expected, where=np.isfinite(expected), out=np.zeros_like(expected)).max()
                np.testing.assert_allclose(found, expected, atol=1e-10 * max(1, largest))


def test_atoms_that_move_are_searched_anew_when_they_have_moved_far_and_not_before(tmp_path):
    general, graphed = evaluators(student_file(tmp_path, CONSERVATIVE[0]))
    atoms, rng = salt(), np.random.default_rng(0)
    graphed(*arguments(atoms))
    for step in range(40):
        atoms.positions += rng.normal(scale=0.03, size=atoms.positions.shape)
        atoms.wrap()
        found, expected = (evaluator(*arguments(atoms)) for evaluator in (graphed, general))
        np.testing.assert_allclose(found.forces, expected.forces, atol=1e-10)
        assert graphed.searches > 1 or step < 10
    assert 2 < graphed.searches < 30


def test_a_list_that_becomes_too_long_gets_more_room(tmp_path):
    general, graphed = evaluators(student_file(tmp_path, CONSERVATIVE[0]))
    atoms = salt()
    for scale in (1.3, 1.0, 0.9, 1.3):
        smaller = atoms.copy()
        smaller.set_cell(scale * atoms.cell, scale_atoms=True)
        found, expected = (evaluator(*arguments(smaller)) for evaluator in (graphed, general))
        np.testing.assert_allclose(found.forces, expected.forces, atol=1e-10)
        np.testing.assert_allclose(found.virial, expected.virial, atol=1e-9)


def test_200_steps_of_nve_are_those_of_the_general_evaluator(tmp_path):
    file = student_file(tmp_path, {**CONSERVATIVE[0], "layers": 1, "width": 4})
    ends = []
    for evaluator in evaluators(file):
        atoms = salt()
        atoms.calc = JointKD(file, dtype="float64")
        atoms.calc.force_field.evaluator = evaluator
        VelocityVerlet(atoms, timestep=0.5 * units.fs).run(200)
        ends.append(atoms.get_total_energy() / len(atoms))
    assert ends[1] == pytest.approx(ends[0], abs=1e-8)


@pytest.mark.usefixtures("_replicas_as_on_a_gpu")
@pytest.mark.parametrize("config", STUDENTS, ids=NAMES)
def test_replicas_have_the_results_of_each_alone_as_they_move(tmp_path, config):
    file, structures = with_uncertainty(student_file(tmp_path, config)), several()
    general, _ = evaluators(file)
    evaluator, rng = ReplicaEvaluator(load_model(file, "cpu", "float64", ()), structures), np.random.default_rng(0)
    for step in range(30):
        results = evaluator(np.concatenate([atoms.positions for atoms in structures]))
        for number, atoms in enumerate(structures):
            expected, place = general(*arguments(atoms)), evaluator.atoms_of(number)
            size = max(1, np.abs(expected.forces).max())
            np.testing.assert_allclose(results.forces[place], expected.forces, atol=1e-10 * size)
            np.testing.assert_allclose(results.atomic_energies[place], expected.atomic_energies, atol=1e-10 * size)
            np.testing.assert_allclose(results.force_uncertainty[place], expected.force_uncertainty, rtol=1e-8)
            atoms.positions += rng.normal(scale=0.01 * (1 + number), size=atoms.positions.shape)
            if step % 10 == number:
                atoms.wrap()
    searches = evaluator.together.searches
    assert 2 * len(structures) < searches < 20 * len(structures)


@pytest.mark.usefixtures("_replicas_as_on_a_gpu")
def test_only_replicas_that_moved_are_searched_anew(tmp_path):
    structures = several()
    evaluator = ReplicaEvaluator(load_model(student_file(tmp_path, CONSERVATIVE[0]), "cpu", None, ()), structures)
    positions = np.concatenate([atoms.positions for atoms in structures])
    evaluator(positions)
    positions[evaluator.atoms_of(1).start] += 0.2  # 1.4 times what is too far
    positions[evaluator.atoms_of(3).start] += 0.12  # 0.8 times
    positions[evaluator.atoms_of(4).start] += 0.05
    evaluator(positions)
    assert evaluator.together.searches == len(structures) + 2


@pytest.mark.usefixtures("_replicas_as_on_a_gpu")
@pytest.mark.parametrize("place", [np.nan, np.inf, 1e6], ids=str)
def test_a_replica_that_is_lost_changes_no_other_and_may_come_back(tmp_path, place):
    structures = several()
    evaluator = ReplicaEvaluator(load_model(student_file(tmp_path, CONSERVATIVE[0]), "cpu", "float64", ()), structures)
    positions = np.concatenate([atoms.positions for atoms in structures])
    before, lost = evaluator(positions), evaluator.atoms_of(0)
    away = positions.copy()
    away[lost.start + 2, 1] = place
    for _ in range(2):
        after = evaluator(away)
        assert np.isnan(after.forces[lost]).all()
        assert np.isnan(after.energies[0])
        np.testing.assert_allclose(after.forces[lost.stop :], before.forces[lost.stop :], atol=1e-10)
    back = evaluator(positions)
    np.testing.assert_allclose(back.forces, before.forces, atol=1e-10)
    evaluator.forget_neighbors()
    assert np.isnan(evaluator(away).energies).tolist() == [True, *[False] * (len(structures) - 1)]

"""The evaluator of a GPU, here on a CPU and thus without its graph: it gives what the general one gives."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from jointkd.deploy.ase import JointKD
from jointkd.deploy.evaluator import Evaluator
from jointkd.deploy.graphed import GraphedEvaluator
from jointkd.deploy.model import load_model
from jointkd.deploy.skin import SkinNeighbors
from jointkd.deploy.tracing import TraceableForm
from jointkd.students import kernels
from tests.structures import ETHANOL, SPECIAL, WATER
from tests.uncertain import with_uncertainty
from tests.unit.deploy.test_ase import CONSERVATIVE, student_file
from tests.unit.deploy.test_evaluator import NAMES, STUDENTS, salt


@pytest.fixture(autouse=True)
def _without_kernels():
    with kernels.disabled():
        yield


def evaluators(file: Path) -> tuple[Evaluator, GraphedEvaluator]:
    """The general one, and that of a GPU."""
    model = load_model(file, "cpu", "float64", ())
    near = SkinNeighbors(model.cutoff, 0.0)
    form = TraceableForm(model.student, model.uncertainty)
    graphed = GraphedEvaluator(form, model.cutoff, "cpu", model.dtype)
    return Evaluator(model.form, near, "cpu", model.dtype), graphed


def arguments(atoms: Atoms):
    return atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc


@pytest.mark.parametrize("config", STUDENTS, ids=NAMES)
def test_results_are_those_of_the_general_evaluator_for_one_system_after_another(tmp_path, config):
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

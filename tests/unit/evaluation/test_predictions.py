"""Predictions in batches, and structures that a student cannot predict."""

from dataclasses import replace

import numpy as np
import pytest

from jointkd.data.screening import Rejected
from jointkd.deploy.ase import JointKD
from jointkd.evaluation import predictions
from jointkd.evaluation.predictions import NOT_FINITE, Predictor
from jointkd.labels.directions import choose_rows
from tests.files import FREE, frames


@pytest.mark.parametrize("edges", [1, 100, 50_000])
def test_predictions_in_batches_are_those_of_the_calculator_in_the_order_of_the_structures(student, monkeypatch, edges):
    monkeypatch.setattr(predictions, "BATCH_EDGES", edges)
    some = frames(7)
    calculator = JointKD(student, device="cpu")
    predicted = list(Predictor(str(student))(some))
    assert [each.frame for each in predicted] == some
    for each in predicted:
        atoms = each.frame.to_ase()
        atoms.calc = calculator
        assert each.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
        assert each.energy == pytest.approx(each.energies.sum())
        np.testing.assert_allclose(each.energies, atoms.get_potential_energies(), atol=1e-5)
        np.testing.assert_allclose(each.forces, atoms.get_forces(), atol=1e-5)


@pytest.mark.parametrize(("rows", "edges"), [(2, 50_000), (13, 50_000), ("all", 50_000), ("all", 1)])
def test_hessian_rows_are_those_that_labelling_would_draw(student, monkeypatch, rows, edges):
    monkeypatch.setattr(predictions, "BATCH_EDGES", edges)
    calculator = JointKD(student, device="cpu", dtype="float64")
    for each in Predictor(str(student), rows=rows, seed=3)(frames(3)):
        chosen = choose_rows(each.frame.key, len(each.frame), rows, 3)
        hessian = calculator.get_hessian(each.frame.to_ase()).reshape(-1, len(each.frame), 3)
        np.testing.assert_allclose(each.hessian_rows, hessian[chosen], atol=1e-4)
    assert {each.hessian_rows for each in Predictor(str(student))(frames(3))} == {None}


def test_predictions_far_from_the_origin_are_as_accurate_as_near_it(student):
    (near, far) = Predictor(str(student))([frame := frames(1)[0], replace(frame, positions=frame.positions + 5000)])
    np.testing.assert_allclose(far.forces, near.forces, atol=1e-5)


def test_a_structure_that_cannot_be_predicted_is_rejected_in_its_place_with_the_reason(student):
    good = frames(1)[0]
    flat = np.diag([4.0, 4.0, 0.0])
    bad = {
        "the student was not trained on Si": replace(good, numbers=np.array([14, 1, 1])),
        "it is charged": replace(good, info={"charge": -1}),
        "it is periodic along c and has no lattice vector there": replace(good, cell=flat, pbc=np.ones(3, bool)),
        "positions or lattice vectors are not finite": replace(good, positions=good.positions * np.nan),
        "the energy is not finite": replace(good, energy=np.inf),
        "two atoms are closer than": replace(good, positions=good.positions * 0.1),
        "it has no atoms": replace(good, numbers=good.numbers[:0], positions=good.positions[:0], forces=None),
        "not converged": replace(good, fault="not converged"),
    }
    outcomes = list(Predictor(str(student))([good, *bad.values(), good]))
    assert [type(each).__name__ for each in outcomes] == ["Predicted", *["Rejected"] * len(bad), "Predicted"]
    for reason, outcome in zip(bad, outcomes[1:], strict=False):
        assert isinstance(outcome, Rejected)
        assert outcome.reason.startswith(reason)


def test_a_prediction_that_is_not_finite_is_rejected(student):
    predictor = Predictor(str(student))
    predictor.references = {**FREE, 8: np.nan}
    assert [each.reason for each in predictor(frames(1))] == [NOT_FINITE]


def test_energies_of_compositions_that_the_training_did_not_determine_are_estimates(student):
    water, _, methane = frames(3)
    predictor = Predictor(str(student))
    assert [predictor.estimates(frame) for frame in (water, methane)] == [True, True]
    predictor._zero.undetermined = ({8: 1.0},)
    assert [predictor.estimates(frame) for frame in (water, methane)] == [True, False]

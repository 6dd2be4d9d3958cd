"""The uncertainty of a trained student's forces: of features in training, on the scale of errors in validation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from jointkd.students.derivatives import predict
from jointkd.training.uncertainty_fit import fit_uncertainty
from tests.toy import toy_data, toy_module


@pytest.fixture
def trained(tmp_path):
    return toy_module(), toy_data(tmp_path)


def test_in_validation_uncertainties_are_as_large_as_errors_on_average(trained):
    module, data = trained
    uncertainty = fit_uncertainty(module, data)
    estimates, errors = [], []
    for batch in data.val_dataloader():
        prediction = module.student(batch.positions, batch)
        estimates.append(uncertainty(prediction.features.detach().numpy(), batch.atomic_numbers.numpy()))
        errors.append(torch.linalg.vector_norm(predict(module.student, batch).forces - batch.forces, dim=1).detach())
    assert np.concatenate(estimates).mean() == pytest.approx(torch.cat(errors).mean().item(), rel=1e-5)


def test_it_is_of_the_training_structures(trained):
    module, data = trained
    uncertainty = fit_uncertainty(module, data)
    square = [
        uncertainty.distances(module.student(batch.positions, batch).features.detach().numpy(), batch.atomic_numbers)
        for batch in data.batches(data.frames["train"], 1000)
    ]
    width = uncertainty.mean.shape[1]
    assert np.mean(np.concatenate(square) ** 2) == pytest.approx(width, rel=0.3)


def test_training_structures_need_no_reference_labels(trained):
    module, data = trained
    with_all = fit_uncertainty(module, data)
    train = data.frames["train"]
    data.frames["train"] = [
        replace(frame, energy=None, forces=None) if n % 2 else frame for n, frame in enumerate(train)
    ]
    without = fit_uncertainty(module, data)
    np.testing.assert_array_equal(without.mean, with_all.mean)
    assert without.scale == with_all.scale


def test_a_student_without_features_has_none(trained, monkeypatch):
    module, data = trained
    forward = type(module.student).forward
    monkeypatch.setattr(
        type(module.student), "forward", lambda self, *inputs: forward(self, *inputs)._replace(features=None)
    )
    assert fit_uncertainty(module, data) is None


def test_at_most_so_many_structures_of_a_split_are_taken_evenly(trained):
    _, data = trained
    count = len(data.frames["train"])
    for most in (1, 3, count, 10 * count):
        sizes = [batch.num_structures for batch in data.batches(data.frames["train"], most)]
        assert 1 <= sum(sizes) <= min(most, count)
    assert sum(batch.num_structures for batch in data.batches(data.frames["train"], count)) == count

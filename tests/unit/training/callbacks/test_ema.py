"""The running average of weights is Lightning's own."""

import copy

import torch
from lightning.pytorch import callbacks

from jointkd.training.callbacks.ema import EMAWeightAveraging
from tests.toy import toy_module


def test_the_average_is_that_of_lightning():
    module = toy_module()
    averages = []
    for callback in (EMAWeightAveraging(decay=0.9), callbacks.EMAWeightAveraging(decay=0.9)):
        student = copy.deepcopy(module)
        callback.setup(None, student, "fit")
        for _ in range(3):
            with torch.no_grad():
                for parameter in student.parameters():
                    parameter.add_(torch.ones_like(parameter))
            callback._average_model.update_parameters(student)
        averages.append(callback._average_model.module.state_dict())
    assert averages[0].keys() == averages[1].keys()
    for name, value in averages[1].items():
        assert torch.allclose(averages[0][name], value, rtol=1e-12)
    assert not torch.equal(averages[0]["student.embedding.weight"], student.state_dict()["student.embedding.weight"])


def test_parameters_are_updated_together(monkeypatch):
    module, calls = toy_module(), []
    callback = EMAWeightAveraging(decay=0.9)
    callback.setup(None, module, "fit")
    average = callback._average_model
    real = average.multi_avg_fn
    monkeypatch.setattr(average, "multi_avg_fn", lambda own, *rest: calls.append(len(own)) or real(own, *rest))
    for _ in range(2):
        average.update_parameters(module)
    assert len(calls) <= 3  # one for each dtype, in the second step
    assert sum(calls) >= len(list(module.parameters()))

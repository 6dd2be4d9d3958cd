"""Validation errors: their precision, the one that steers training, and what happens where they are no numbers."""

import pytest
import torch
import yaml

from jointkd.cli.config_tree import CONF
from jointkd.errors import DivergedError
from jointkd.structures.batch import collate
from jointkd.students.derivatives import predict
from jointkd.training.module import MONITOR
from tests.structures import ETHANOL, WATER, labelled
from tests.toy import toy_module


@pytest.mark.parametrize("name", ["energy_mae_meV_per_atom", "force_mae_meV_per_A"])
def test_a_validation_error_that_is_not_a_number_ends_training(name, monkeypatch):
    module = toy_module()
    monkeypatch.setattr(type(module), "global_step", 7)
    monkeypatch.setattr(module, "lr_schedulers", lambda: None)
    for known in ("energy_mae_meV_per_atom", "force_mae_meV_per_A"):
        module.metrics["val"][known].update(torch.tensor([1.0, 2.0]))  # type: ignore[index, union-attr]
    module.on_validation_epoch_end()
    module.metrics["val"][name].update(torch.tensor([float("nan")]))  # type: ignore[index, union-attr]
    with pytest.raises(DivergedError, match=rf"training diverged: val/{name} is nan after step 7"):
        module.on_validation_epoch_end()


def test_a_module_in_double_precision_measures_in_double_precision(monkeypatch):
    module, batch = toy_module(), collate([labelled(ETHANOL, 2), labelled(WATER, 2)], torch.float64)
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    with torch.no_grad():
        prediction = predict(module.student, batch, batch.row_ids)
    module.validation_step(batch, 0)
    module.test_step(batch, 0)
    expected = 1e3 * float((prediction.forces - batch.forces).abs().mean())
    for stage in ("val", "test"):
        metric = module.metrics[stage]["force_mae_meV_per_A"]  # type: ignore[index]
        assert metric.compute().item() == pytest.approx(expected, rel=1e-14)


FALLING, CONSTANT = (1e6, 1e3, 1.0), (5.0, 5.0, 5.0)


@pytest.mark.parametrize(("energy", "forces", "lowered"), [(FALLING, CONSTANT, True), (CONSTANT, FALLING, False)])
def test_the_learning_rate_falls_where_the_force_error_stays_not_where_the_energy_error_does(
    monkeypatch, energy, forces, lowered
):
    module = toy_module()
    scheduler = module.configure_optimizers()["lr_scheduler"]["scheduler"]
    rate = scheduler.optimizer.param_groups[0]["lr"]
    monkeypatch.setattr(module, "lr_schedulers", lambda: scheduler)
    for errors in zip(energy, forces, strict=True):
        for name, error in zip(("energy_mae_meV_per_atom", "force_mae_meV_per_A"), errors, strict=True):
            module.metrics["val"][name].reset()  # type: ignore[index, union-attr]
            module.metrics["val"][name].update(torch.tensor([error]))  # type: ignore[index, union-attr]
        module.on_validation_epoch_end()
    assert (scheduler.optimizer.param_groups[0]["lr"] < rate) == lowered


def test_schedulers_and_checkpoints_follow_the_force_error():
    configured = yaml.safe_load((CONF / "train.yaml").read_text())
    assert MONITOR == configured["callbacks"]["checkpoint"]["monitor"] == "val/force_mae_meV_per_A"
    assert "mode" not in configured["callbacks"]["checkpoint"]  # the smallest is the best

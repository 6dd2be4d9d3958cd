"""Validation errors steer training only where they are numbers."""

import pytest
import torch

from jointkd.errors import DivergedError
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

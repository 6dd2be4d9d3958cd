"""Training steps are compiled where that takes less time than it saves."""

from types import SimpleNamespace

import pytest
import torch

from jointkd.commands.compile_step import FEW, steps_of, worthwhile


def trainer(device: str = "cuda", **limits):
    strategy = SimpleNamespace(root_device=torch.device(device))
    return SimpleNamespace(
        **{"max_epochs": -1, "max_steps": -1, "accumulate_grad_batches": 1, "strategy": strategy, **limits}
    )


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        ({"max_epochs": 100}, 900),
        ({"max_epochs": 100, "max_steps": 70}, 70),
        ({"max_steps": 5000}, 5000),
        ({"max_epochs": 100, "accumulate_grad_batches": 2}, 1800),
        ({"max_epochs": None}, float("inf")),
        ({}, float("inf")),
    ],
    ids=str,
)
def test_the_steps_of_a_training_are_counted(limits, steps):
    assert steps_of(trainer(**limits), structures=33, batch_size=4) == steps


@pytest.mark.parametrize(
    ("device", "steps", "compiled"), [("cuda", FEW, True), ("cuda", FEW - 1, False), ("cpu", 10 * FEW, False)]
)
def test_long_trainings_on_a_gpu_are_compiled(device, steps, compiled, caplog):
    data = SimpleNamespace(frames={"train": range(33)}, batch_size=4)
    with caplog.at_level("INFO"):
        assert worthwhile(trainer(device, max_steps=steps), data) == compiled
    assert ("1999 are too few to gain by it (compile=true compiles them)" in caplog.text) == (steps == FEW - 1)

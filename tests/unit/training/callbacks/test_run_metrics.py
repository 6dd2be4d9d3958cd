"""What a dashboard shows of a training: named sections, in the steps that are logged, from values that are right."""

import csv
import math

import lightning
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from jointkd.training.callbacks.run_metrics import RunMetrics, gradient_norm
from tests.toy import toy_data, toy_module, toy_trainer

LOGGED = {
    *("train/loss", "train/energy", "train/forces", "train/atomic_energy", "train/hessian"),
    *("train/weight_energy", "train/weight_forces", "train/weight_atomic_energy", "train/weight_hessian"),
    *("train/learning_rate", "train/gradient_norm", "perf/structures_per_s", "perf/memory_MB"),
    *("val/energy_mae_meV_per_atom", "val/energy_mae_meV", "val/force_mae_meV_per_A"),
}


class GradientsSeen(lightning.Callback):
    """The norm of the gradients of each step, computed another way."""

    def __init__(self):
        self.norms = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        gradients = [p.grad.flatten() for p in pl_module.student.parameters() if p.grad is not None]
        self.norms.append(float(torch.cat(gradients).norm()))


@pytest.fixture
def trained(tmp_path):
    """The rows of metrics.csv of a training with 2 micro-batches per step, 3 steps in 2 epochs each, and the norms."""
    seen, module = GradientsSeen(), toy_module()
    module.terms["hessian"].teachers_share = 0.5
    trainer = toy_trainer(
        tmp_path,
        2,
        RunMetrics(),
        seen,
        logger=CSVLogger(tmp_path, name=None, version="metrics"),
        log_every_n_steps=2,
        gradient_clip_val=0.1,
        accumulate_grad_batches=2,
    )
    trainer.fit(module, datamodule=toy_data(tmp_path, batch_size=6))
    with (tmp_path / "metrics" / "metrics.csv").open() as opened:
        return list(csv.DictReader(opened)), seen.norms


def test_terms_weights_rate_gradient_speed_and_memory_are_logged_in_named_sections(trained):
    rows, _ = trained
    assert set(rows[0]) - {"epoch", "step"} == LOGGED
    steps = [row for row in rows if row["train/loss"]]
    assert len(steps) == len(trained[1]) // 2
    for row in steps:  # everything of a step is in one row
        assert all(row[name] for name in LOGGED if not name.startswith("val/"))
    first = steps[0]
    assert float(first["train/weight_hessian"]) == 200
    assert float(first["train/learning_rate"]) == pytest.approx(1e-3)
    assert float(first["perf/structures_per_s"]) > 0
    assert 10 < float(first["perf/memory_MB"]) < 1e5


def test_the_gradient_norm_is_that_of_all_gradients_before_clipping(trained):
    rows, norms = trained
    logged = [float(row["train/gradient_norm"]) for row in rows if row["train/gradient_norm"]]
    assert logged == pytest.approx(norms[1::2], rel=1e-6)
    assert min(logged) > 0.1


def test_parameters_without_a_gradient_do_not_count():
    with_gradient, without = torch.zeros(2, requires_grad=True), torch.zeros(3, requires_grad=True)
    with_gradient.grad = torch.tensor([3.0, 4.0])
    assert math.isclose(gradient_norm([with_gradient, without]), 5.0)

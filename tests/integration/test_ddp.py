"""Two processes, and micro-batches, give the results of one process with whole batches."""

import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from jointkd.data.dataset import EpochBatches, ResumableLoader
from jointkd.students.derivatives import predict
from jointkd.students.operations import plain_graph
from jointkd.training.callbacks.prediction_record import PredictionRecord
from jointkd.training.compiled_step import CompiledStep
from jointkd.training.weighted_sum import weighted_sum
from tests.toy import toy_data, toy_module, toy_trainer
from tests.unit.training.test_compiled_step import as_it_is


class Step(torch.nn.Module):
    """The loss of one batch as a module, as Lightning passes it to DDP."""

    def __init__(self, conservative: bool) -> None:
        super().__init__()
        self.module = toy_module(conservative=conservative)

    def forward(self, batch):
        prediction = predict(self.module.student, batch, batch.row_ids)
        sums = {name: term(prediction, batch) for name, term in self.module.terms.items()}
        return weighted_sum(self.module.terms, sums)


def first_batch(folder: Path, rank: int, ranks: int):
    data = toy_data(folder / f"rank{rank}of{ranks}", batch_size=5)  # five structures: uneven over two ranks
    loader = data.train_dataloader()
    batches = EpochBatches(len(loader.dataset), 5, data.seed, True, rank, ranks)
    return next(iter(ResumableLoader(loader.dataset, batches, loader.collate_fn, 0)))


def first_steps(folder: Path, rank: int) -> dict[str, Any]:
    """Gradients and means of one step of either kind of student, on this rank of two."""
    results = {}
    for conservative in (False, True):
        step = DistributedDataParallel(Step(conservative))
        loss, means = step(first_batch(folder, rank, 2))
        loss.backward()
        gradients = {name: p.grad for name, p in step.module.module.student.named_parameters() if p.grad is not None}
        results[str(conservative)] = (gradients, means)
    return results


def test_two_gloo_ranks_have_the_gradients_and_means_of_one_rank(tmp_path, ranks):
    for conservative in (False, True):
        step = Step(conservative)
        loss, means = step(first_batch(tmp_path, 0, 1))
        loss.backward()
        for result in ranks:
            gradients, ranks_means = result["steps"][str(conservative)]
            assert gradients
            for name, gradient in gradients.items():
                expected = step.module.student.get_parameter(name).grad
                largest = max(float(expected.abs().max()), 1e-3)  # a constant in all atomic energies has zero gradient
                assert float((gradient - expected).abs().max()) < 1e-10 * largest, name
            for name, mean in means.items():
                assert float(ranks_means[name]) == pytest.approx(float(mean), rel=1e-12)


class Curve(lightning.Callback):
    """Records all terms of the loss in each step, and the validation errors."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, number: int
    ) -> None:
        if (number + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch:
            for name, value in trainer.callback_metrics.items():
                if name.startswith("train/"):
                    self.values.setdefault(name, []).append(float(value))

    def on_validation_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        error = float(trainer.callback_metrics["val/force_mae_meV_per_A"])
        self.values.setdefault("val", []).append(error)


def train(folder: Path, parts: int = 1, traced: bool = False, **options: Any) -> dict[str, Any]:
    """Two epochs of four steps of batches of 5, 5, 5 and 3 structures; the curves, the final weights, the tested ones.

    traced: whether the steps are those that would be compiled.
    """
    curve, record = Curve(), PredictionRecord()
    more = {"accumulate_grad_batches": parts, "gradient_clip_val": 10.0, **options}
    trainer = toy_trainer(folder, 2, curve, record, **more)
    module, data = toy_module(conservative=True), toy_data(folder, batch_size=5)
    if traced:
        data.pad_batches(partial(plain_graph, module.student.graph_of))
        module.step = CompiledStep(module.student, module.terms, never, as_it_is)
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 8
    trainer.test(module, datamodule=data, verbose=False)
    tested = sorted(structure.predicted_energy_eV for structure in record.structures)
    return {
        "curve": curve.values,
        "weights": dict(module.student.state_dict()),
        "tested": tested,
        "components": int(record.parity.forces.counts.sum()),
        "entries": int(record.parity.hessian.counts.sum()),
    }


def never(batch: Any) -> Any:
    raise AssertionError("a batch was not padded, or its step not traced")


def run_rank(rank: int, folder: Path, port: int) -> None:
    """All computations of one of the two ranks for the tests of this file, because starting ranks takes longer."""
    torch.set_num_threads(1)
    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0", WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    results: dict[str, Any] = {
        f"{parts} parts": train(folder / f"rank{rank}parts{parts}", parts, devices=2, strategy="ddp")
        for parts in (1, 2)
    }
    results["one traced"] = train(folder / f"rank{rank}mixed", traced=rank == 1, devices=2, strategy="ddp")
    torch.save({**results, "steps": first_steps(folder, rank)}, folder / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The results of each of two gloo ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(run_rank, (folder, free_port()), nprocs=2)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


def test_the_learning_curves_do_not_depend_on_ranks_or_micro_batches(tmp_path, ranks):
    single = train(tmp_path / "single", devices=1)
    assert len(single["curve"]["train/loss"]) == 8
    others = {"one rank, 3 parts": train(tmp_path / "parts", 3, devices=1)}
    for rank, result in enumerate(ranks):
        others |= {f"rank {rank} of 2, {parts}": result[parts] for parts in ("1 parts", "2 parts", "one traced")}
    others["traced, 3 parts"] = train(tmp_path / "traced", 3, traced=True, devices=1)
    for case, result in others.items():
        for name, values in single["curve"].items():
            assert result["curve"][name] == pytest.approx(values, rel=1e-9), (case, name)
        assert result["tested"] == pytest.approx(single["tested"], rel=1e-9), case
        assert result["components"] == single["components"], case
        assert result["entries"] == single["entries"] > 0, case
        for name, weights in single["weights"].items():
            torch.testing.assert_close(result["weights"][name], weights, rtol=1e-7, atol=1e-9, msg=f"{case}: {name}")

"""Two processes compute what one would."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from jointkd.data.dataset import EpochBatches, ResumableLoader
from jointkd.objective.derivatives import predict
from jointkd.objective.terms import weighted_sum
from tests.toy import toy_data, toy_module


class Step(torch.nn.Module):
    """The loss of one batch as a module, as Lightning hands it to DDP."""

    def __init__(self, conservative: bool) -> None:
        super().__init__()
        self.module = toy_module(conservative=conservative)

    def forward(self, batch):
        prediction = predict(self.module.student, batch, batch.row_ids)
        shares = {name: term(prediction, batch) for name, term in self.module.terms.items()}
        return weighted_sum(self.module.terms, shares)


def first_batch(folder: Path, rank: int, ranks: int):
    data = toy_data(folder / f"rank{rank}of{ranks}", batch_size=5)  # five structures: uneven over two ranks
    loader = data.train_dataloader()
    batches = EpochBatches(len(loader.dataset), 5, data.seed, True, rank, ranks)
    return next(iter(ResumableLoader(loader.dataset, batches, loader.collate_fn, 0)))


def run_rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    results = {}
    for conservative in (False, True):
        step = DistributedDataParallel(Step(conservative))
        loss, means = step(first_batch(folder, rank, 2))
        loss.backward()
        gradients = {name: p.grad for name, p in step.module.module.student.named_parameters() if p.grad is not None}
        results[str(conservative)] = (gradients, means)
    torch.save(results, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


def test_two_gloo_ranks_have_the_gradients_and_means_of_one(tmp_path):
    mp.spawn(run_rank, (tmp_path,), nprocs=2)
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    for conservative in (False, True):
        step = Step(conservative)
        loss, means = step(first_batch(tmp_path, 0, 1))
        loss.backward()
        for result in ranks:
            gradients, ranks_means = result[str(conservative)]
            assert gradients
            for name, gradient in gradients.items():
                expected = step.module.student.get_parameter(name).grad
                largest = max(float(expected.abs().max()), 1e-3)  # a constant of all atoms' energies has none
                assert float((gradient - expected).abs().max()) < 1e-10 * largest, name
            for name, mean in means.items():
                assert float(ranks_means[name]) == pytest.approx(float(mean), rel=1e-12)

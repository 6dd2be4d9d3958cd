"""The loss of a step: the weighted sum of terms, each the mean over the batch of all ranks."""

from collections.abc import Mapping

import torch
from torch import Tensor

from jointkd.structures.batch import Structure
from jointkd.training.loss import SumCount, Term


def weighted_sum(
    terms: Mapping[str, Term], sums: Mapping[str, SumCount], batch: Structure | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss to differentiate on this rank, and each term's mean over all ranks; see `factors_of`."""
    totals = torch.stack([term.sum for term in sums.values()])
    counts = global_counts(terms, torch.stack([term.count for term in sums.values()]), batch)
    loss = (factors_of(terms, counts, batch) * totals).sum()
    return loss, dict(zip(sums, global_sums(totals) / counts, strict=True))


def global_counts(terms: Mapping[str, Term], counts: Tensor, batch: Structure | None) -> Tensor:
    """[T] the counts of terms over all ranks, from those of this one; for a micro-batch those of its whole batch.

    All ranks call it in each step, and `global_sums` after it.
    """
    if batch is not None and batch.whole is not None:  # so that means of micro-batches add up
        atoms, structures = batch.whole.num_atoms / batch.real_atoms, batch.whole.num_structures / batch.real_structures
        return counts * counts.new_tensor([atoms if term.per_atom else structures for term in terms.values()])
    return summed_over_ranks(counts)


def global_sums(totals: Tensor) -> Tensor:
    """[T] the sums of terms over all ranks, from those of this one."""
    return summed_over_ranks(totals.detach())


def summed_over_ranks(values: Tensor) -> Tensor:
    """A copy of the values, summed over all ranks."""
    values = values.clone()
    if distributed():
        torch.distributed.all_reduce(values)
    return values


def factors_of(terms: Mapping[str, Term], counts: Tensor, batch: Structure | None) -> Tensor:
    """[T] what the sums of this rank are multiplied by in its loss, from the counts [T] of all ranks.

    DDP averages gradients over ranks. With the local sum divided by the global count and multiplied by the number of
    ranks, that average is the gradient of the global mean, also for batches of different sizes. For a micro-batch the
    loss is multiplied by the number of micro-batches, by which Lightning divides.
    """
    scale = 1 if batch is None or batch.whole is None else batch.whole.parts
    if distributed():
        scale *= torch.distributed.get_world_size()
    return scale * counts.new_tensor([term.current_weight for term in terms.values()]) / counts


def distributed() -> bool:
    """Whether this process is one of several ranks."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()

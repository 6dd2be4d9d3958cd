"""Factors that keep the variance of features through a network, fitted to data before training."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from jointkd.structures.batch import Structure
from jointkd.students.base import Student

# A batch in which all features are alike, as without any edges, or where they are only rounding errors, as those of
# triplets of diatomic molecules (ratios of 1e14 in float32), says nothing of the factor. Factors are of order one.
LARGEST_RATIO = 1e6


class Scale(nn.Module):
    """A fixed factor that gives x the variance that a reference has. One until `fit_scales`. Source: GemNet, sec. 6."""

    factor: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(()))
        self.ratios: list[float] | None = None  # being fitted: reference variance / variance, by batch

    def forward(self, x: Tensor, reference: Tensor) -> Tensor:
        if self.ratios is not None and min(len(x), len(reference)) > 1:
            ratio = float(mean_variance(reference) / mean_variance(x))
            if 0 < ratio < LARGEST_RATIO:
                self.ratios.append(ratio)
                self.factor.fill_(math.sqrt(sum(self.ratios) / len(self.ratios)))
        return x * self.factor


def mean_variance(x: Tensor) -> Tensor:
    """The variance over entries [entries, F], averaged over features."""
    return x.var(dim=0).mean()


@torch.no_grad()
def fit_scales(student: Student, batches: Iterable[Structure]) -> int:
    """Fit every `Scale` of a student, each to what those before it make of the batches; how many there are."""
    scales = [module for module in student.modules() if isinstance(module, Scale)]
    for scale in scales:
        scale.ratios = []
    if scales:
        for batch in batches:
            student(batch.positions, batch)
    for scale in scales:
        scale.ratios = None
    return len(scales)

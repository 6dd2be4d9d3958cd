"""Whether a compiled step gives what the student itself gives.

Compilers have faults in derivatives of higher order (pytorch#190855; torch's vectorised code for a CPU gives wrong
Hessian rows of a PaiNN), so each compiled step is compared, on some structures of the first batch, before it is used.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from jointkd.structures.batch import Structure
from jointkd.training.loss import Term, weighted
from jointkd.training.traced_step import Tensors, TracedStep

COMPARED = 4  # structures, each by itself, so that the student's own step needs little memory
TOLERANCE = {torch.float32: (1e-3, 1e-2), torch.float64: (1e-9, 1e-8)}  # of sums, and of the whole gradient


class WrongStep(ArithmeticError):
    """A compiled step that differs from the student."""


def check_step(
    step: TracedStep, terms: Mapping[str, Term], batch: Structure, inputs: Tensors, weights: list[Tensor]
) -> None:
    """Compare sums of terms and their gradient. Raises WrongStep where they differ by more than rounding."""
    last = batch.real_structures - 1
    chosen = sorted({round(last * part / (COMPARED - 1)) for part in range(COMPARED)})
    masked = [
        weight * only(chosen, batch, term.per_atom).to(weight.dtype)
        for term, weight in zip(terms.values(), weights, strict=True)
    ]
    factors = weights[0].new_tensor([term.weight for term in terms.values()])
    _, sums, gradients = step(inputs, masked, factors)
    sums, gradients = sums.clone(), [None if gradient is None else gradient.clone() for gradient in gradients]
    own_sums, own = torch.zeros_like(sums), [torch.zeros_like(parameter) for parameter in step.trained]
    for number in chosen:
        values = sums_of(step, terms, batch.structure(number), weights, batch, number)
        found = torch.autograd.grad((factors * values).sum(), step.trained, allow_unused=True)
        own_sums += values.detach()
        own = [total if part is None else total + part for total, part in zip(own, found, strict=True)]
    of_sums, of_gradient = TOLERANCE[sums.dtype]
    compare("sums of terms", sums, own_sums, of_sums)
    pairs = [(mine, theirs) for mine, theirs in zip(gradients, own, strict=True) if mine is not None]
    ours, theirs = (torch.cat([pair[side].flatten() for pair in pairs]) for side in (0, 1))
    compare("gradients", ours, theirs, of_gradient)


def only(chosen: list[int], batch: Structure, atoms: bool) -> Tensor:
    """[N] or [B] whether an atom or structure belongs to the chosen ones."""
    numbers = batch.batch if atoms else torch.arange(batch.num_structures, device=batch.batch.device)
    return torch.isin(numbers, torch.tensor(chosen, device=numbers.device))


def sums_of(
    step: TracedStep, terms: Mapping[str, Term], one: Structure, weights: list[Tensor], batch: Structure, number: int
) -> Tensor:
    """[T] the sums of the terms for one structure of the batch, by the student itself."""
    prediction = step.predicting(one)
    atoms = slice(*batch.ptr[number : number + 2].tolist())
    sums = [
        weighted(term.norms(prediction, one), weight[atoms if term.per_atom else slice(number, number + 1)])
        for term, weight in zip(terms.values(), weights, strict=True)
    ]
    return torch.stack(sums)


def compare(what: str, found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Raise WrongStep where the difference of two vectors is more than a share of the second."""
    error = float((found - expected).norm() / expected.norm().clamp(min=torch.finfo(expected.dtype).tiny))
    if not error <= tolerance:
        raise WrongStep(f"compiled {what} differ from the student's by {error:.1e}")

"""The terms of the joint objective: the four of the paper (eq. 2, 4 and 20), and the stress.

A term maps a prediction and a batch to (sum, count); `weighted_sum` divides sums by counts over all ranks.
"""

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from jointkd.errors import ConfigError
from jointkd.ranges import check_integer, check_number
from jointkd.structures.batch import COMPLETED, Prediction, Structure

log = logging.getLogger(__name__)

FAINT = 1e-8  # weight of a structure whose Hessian rows exceed `Hessian.limit`
NORMS: dict[str, Callable[[Tensor], Tensor]] = {  # of a difference: [..., D] → [...]
    "mae": lambda difference: difference.abs().mean(-1),
    "l2": lambda difference: torch.linalg.vector_norm(difference, dim=-1),
    "mse": lambda difference: difference.square().mean(-1),
    "huber": lambda difference: torch.nn.functional.huber_loss(
        difference, torch.zeros_like(difference), reduction="none", delta=0.01
    ).mean(-1),
}


@dataclass(frozen=True)
class SumCount:
    """The contribution of one batch to a mean over all batches of a step."""

    sum: Tensor  # scalar, the sum of the norms
    count: Tensor  # scalar, the number of norms


class Term(ABC):
    """One weighted term of the loss.

    `teacher`: whether it needs a teacher's labels; `atomic`: whether it needs the teacher's atomic energies; `rows`:
    Hessian rows per structure and step; `stress`: whether it needs stresses; `per_atom`: whether its count is
    proportional to the atoms of a batch, else to the structures.
    """

    teacher = False
    atomic = False
    rows = 0
    stress = False
    per_atom = True
    teachers_share = 1.0  # of the weight, for labels that are the teacher's; see `callbacks.teacher_trust`

    def __init__(self, weight: float, norm: str) -> None:
        check_number(f"method.terms.{self.option}.weight", weight, zero=True)
        self.weight = weight
        if norm not in NORMS:
            raise ConfigError(f"norm={norm!r} is not known", f"choose one of {', '.join(NORMS)}")
        self.norm = NORMS[norm]

    @property
    def current_weight(self) -> float:
        """The weight that counts now."""
        return self.weight * (self.teachers_share if self.teacher else 1)

    def learns_from_teacher(self, completed: Mapping[str, int]) -> bool:
        """Whether it reads labels of the teacher. completed: how many structures have which of COMPLETED from it."""
        return self.teacher

    def __call__(self, prediction: Prediction, batch: Structure) -> SumCount:
        """The sum of the norms of all differences, and their number."""
        norms = self.norms(prediction, batch)
        count = norms.numel() * self.entries(batch) / self.size(batch)
        return SumCount(weighted(norms, self.all_weights(batch)), norms.new_tensor(count))

    def norms(self, prediction: Prediction, batch: Structure) -> Tensor:
        """[N or B, …] the norm of each difference, by atom or by structure."""
        return self.norm(self.difference(prediction, batch))

    def entries(self, batch: Structure) -> int:
        """How many atoms or structures the term compares: all but those that pad the batch."""
        return batch.real_atoms if self.per_atom else batch.real_structures

    def size(self, batch: Structure) -> int:
        """N or B, with padding."""
        return batch.num_atoms if self.per_atom else batch.num_structures

    def weights(self, batch: Structure) -> Tensor | None:
        """[N] or [B] the weight of each atom's or structure's norms, from the labels alone; None: all 1."""
        return None

    def all_weights(self, batch: Structure) -> Tensor | None:
        """As `weights`, with zeros for the atoms and structures that pad the batch."""
        weights = self.weights(batch)
        if batch.real is None:
            return weights
        number = torch.arange(self.size(batch), device=batch.positions.device)
        real = (number < self.entries(batch)).to(batch.positions.dtype)
        return real if weights is None else real * weights

    @property
    def option(self) -> str:
        """The name of the term among the options, as `atomic_energy` of `AtomicEnergy`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    @abstractmethod
    def difference(self, prediction: Prediction, batch: Structure) -> Tensor:
        """[..., D]: the differences, of which the norm is taken over the last dimension."""


def active(terms: Mapping[str, Term]) -> dict[str, Term]:
    """The terms that count now."""
    return {name: term for name, term in terms.items() if term.current_weight > 0}


class Reference(Term):
    """A term of reference data, in place of which some structures may have the teacher's: `Structure.from_teacher`."""

    labels: str  # one of COMPLETED

    def learns_from_teacher(self, completed: Mapping[str, int]) -> bool:
        return completed[self.labels] > 0

    def weights(self, batch: Structure) -> Tensor | None:
        if batch.from_teacher is None or self.teachers_share == 1:
            return None
        weights = batch.positions.new_ones(batch.num_structures)
        weights = weights.masked_fill(batch.from_teacher[:, COMPLETED.index(self.labels)], self.teachers_share)
        return weights[batch.batch] if self.per_atom else weights


class Energy(Reference):
    """Mean over structures of |Ê - E| / N, in eV per atom."""

    labels = "energies"
    per_atom = False

    def difference(self, prediction: Prediction, batch: Structure) -> Tensor:
        assert batch.energy is not None
        error = batch.total_energy(prediction.atomic_energies) - batch.energy
        return (error / batch.atoms_per_structure)[:, None]


class Forces(Reference):
    """Mean over atoms of ‖F̂ - F‖, in eV/Å."""

    labels = "forces"

    def difference(self, prediction: Prediction, batch: Structure) -> Tensor:
        assert prediction.forces is not None
        assert batch.forces is not None
        return prediction.forces - batch.forces


class AtomicEnergy(Term):
    """Mean over atoms of |Ê_i - E_i of the teacher|, in eV.

    spread: eV; an atom whose energies in an ensemble have the standard deviation σ gets the weight
    1 / (1 + (σ / spread)²). None: all atoms have the same weight.
    """

    teacher = True
    atomic = True

    def __init__(self, weight: float, norm: str, spread: float | None = None) -> None:
        super().__init__(weight, norm)
        if spread is not None:
            check_number("method.terms.atomic_energy.spread", spread, "eV")
        self.spread = spread

    def weights(self, batch: Structure) -> Tensor | None:
        if self.spread is None:
            return None
        assert batch.teacher_energy_spread is not None
        return 1 / (1 + (batch.teacher_energy_spread / self.spread) ** 2)

    def difference(self, prediction: Prediction, batch: Structure) -> Tensor:
        assert batch.teacher_atomic_energies is not None
        return (prediction.atomic_energies - batch.teacher_atomic_energies)[:, None]


class Hessian(Term):
    """Mean over the atoms of the batch and the sampled rows of ‖ĥ_is - h_is‖ (entries of row s at atom i), in eV/Å².

    rows: per structure and step; limit: eV/Å², a structure with a larger entry in its sampled rows has the weight
    FAINT, as in the prior art, and is counted in the log. None: all structures have the same weight.
    """

    teacher = True

    def __init__(self, weight: float, norm: str, rows: int, limit: float | None = None) -> None:
        super().__init__(weight, norm)
        if weight > 0:
            check_integer("hessian.rows", rows)
        if limit is not None:
            check_number("hessian.limit", limit, "eV/Å²")
        self.rows, self.limit = rows, limit
        self.faint = 0  # structures of weight FAINT, over all steps of this process

    def weights(self, batch: Structure) -> Tensor | None:
        if self.limit is None:
            return None
        scale = batch.positions.new_ones(batch.num_structures).masked_fill_(self._beyond(batch, self.limit), FAINT)
        return scale[batch.batch]

    def _beyond(self, batch: Structure, limit: float) -> Tensor:
        """[B] bool: whether a structure's sampled rows exceed the limit; the 1st, 2nd, 4th, 8th, … is logged."""
        assert batch.hessian_rows is not None
        largest = batch.hessian_rows.abs().amax((1, 2))
        largest = largest.new_zeros(batch.num_structures).scatter_reduce(0, batch.batch, largest, "amax")
        beyond = largest > limit
        before, self.faint = self.faint, self.faint + int(beyond.sum())
        if self.faint.bit_length() > before.bit_length():
            log.warning(
                "Hessian rows with entries beyond hessian.limit=%g eV/Å²: %d structures so far had the weight %g",
                limit,
                self.faint,
                FAINT,
            )
        return beyond

    def difference(self, prediction: Prediction, batch: Structure) -> Tensor:
        assert prediction.hessian_rows is not None
        assert batch.hessian_rows is not None
        return prediction.hessian_rows - batch.hessian_rows


class Stress(Term):
    """Mean over structures of ‖σ̂ - σ‖, the norm over all nine components, in eV/Å³."""

    stress = True
    per_atom = False

    def difference(self, prediction: Prediction, batch: Structure) -> Tensor:
        assert prediction.stress is not None
        assert batch.stress is not None
        return (prediction.stress - batch.stress).flatten(1)


def needs(terms: Collection[Term]) -> tuple[bool, bool]:
    """Whether any of the terms needs Hessian rows, and whether any needs stresses."""
    return any(term.rows for term in terms), any(term.stress for term in terms)


def weighted(norms: Tensor, weights: Tensor | None) -> Tensor:
    """The sum of norms [K, …], each times the weight [K] of its atom or structure."""
    return norms.sum() if weights is None else (norms * weights.view(-1, *[1] * (norms.dim() - 1))).sum()

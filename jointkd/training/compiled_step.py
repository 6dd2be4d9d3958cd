"""A training step as one compiled function, on a GPU replayed as a CUDA graph: launches no longer take the time.

Prediction, terms, loss and gradients are traced into one graph of operations, which is compiled for each size of padded
batches when a batch of that size is first met. What a step learns from (labels, weights of terms and structures) goes
in as tensors, so that nothing that may change is fixed in the graph.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from jointkd.errors import first_line
from jointkd.progress import format_time
from jointkd.replay import Pool
from jointkd.structures.batch import Structure
from jointkd.students.base import Student
from jointkd.training.loss import Term, active
from jointkd.training.step_check import check_step
from jointkd.training.traced_step import Compiler, Tensors, TracedStep, inductor, tensors_of
from jointkd.training.weighted_sum import factors_of, global_counts, global_sums

log = logging.getLogger(__name__)

Loss = tuple[Tensor, dict[str, Tensor]]  # to be differentiated, and the mean of each term


class CompiledStep:
    """Computes the loss of a padded batch, its gradients and the means of its terms; `otherwise` serves other batches.

    The loss that it returns is differentiated by `backward` as any other, which then hands out the gradients that are
    known already: gradient clipping, accumulation, DDP and the optimiser see no difference.
    """

    def __init__(
        self,
        student: Student,
        terms: Mapping[str, Term],
        otherwise: Callable[[Structure], Loss],
        compiler: Compiler | None = None,
    ) -> None:
        self.student, self.terms, self.otherwise = student, terms, otherwise
        self.compiler = compiler or inductor
        self.steps: dict[Any, TracedStep] = {}
        self.pool = Pool()
        self.failed = False

    def __call__(self, batch: Structure) -> Loss:
        """The loss, and the mean of each term over all ranks."""
        if batch.real is None or self.failed or torch.is_autocast_enabled(batch.positions.device.type):
            return self.otherwise(batch)
        terms, inputs = active(self.terms), tensors_of(batch)
        weights = [cast(Tensor, term.all_weights(batch)) for term in terms.values()]  # as the batch is padded
        key = (*inputs.shapes, *terms)
        step = self.steps.get(key)
        if step is None or step.moved():
            try:
                step = self.steps[key] = self._made(batch, terms, inputs, weights)
            except Exception as error:  # compilers and drivers raise errors of any class
                self.failed = True
                log.warning("the training step is not compiled, and runs operation by operation: %s", first_line(error))
                return self.otherwise(batch)
        entries = [step.per_entry[name] * term.entries(batch) for name, term in terms.items()]
        counts = global_counts(terms, batch.positions.new_tensor(entries), batch)
        loss, totals, gradients = step(inputs, weights, factors_of(terms, counts, batch))
        loss = KnownGradient.apply(loss, gradients, *step.trained)
        return loss, dict(zip(terms, global_sums(totals) / counts, strict=True))

    def _made(self, batch: Structure, terms: dict[str, Term], inputs: Tensors, weights: list[Tensor]) -> TracedStep:
        started = time.monotonic()
        log.info(
            "compiling the training step for batches of up to %d atoms and %d pairs, which takes minutes …",
            batch.num_atoms,
            batch.edge_index.shape[1] // 2,
        )
        step = TracedStep(self.student, terms, inputs, weights, self.compiler, self.pool)
        check_step(step, terms, batch, inputs, weights)
        log.info("compiled the training step in %s", format_time(time.monotonic() - started))
        return step


class KnownGradient(torch.autograd.Function):
    """A loss whose gradients are known."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: list[Tensor | None], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Any:
        found = [gradient for gradient in ctx.gradients if gradient is not None]
        scaled = iter(torch._foreach_mul(found, cotangent))
        return None, None, *(None if gradient is None else next(scaled) for gradient in ctx.gradients)

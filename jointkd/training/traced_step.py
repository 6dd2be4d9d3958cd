"""A training step traced into one graph of operations, for batches of one size."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from jointkd.replay import Pool, Replay
from jointkd.runtime import compiler_options
from jointkd.structures.batch import TENSORS, Prediction, Structure
from jointkd.students import kernels
from jointkd.students.base import Student
from jointkd.students.derivatives import predict
from jointkd.training.loss import Term, needs, weighted

Function = Callable[..., list[Tensor]]
Compiler = Callable[[torch.fx.GraphModule, list[Tensor]], Function]


class Tensors(NamedTuple):
    """A batch as a list of tensors, and how it is made of them again."""

    tensors: list[Tensor]
    leaves: tuple[Any, ...]  # all that is in it; `Tensor` stands for a tensor
    spec: pytree.TreeSpec

    @property
    def shapes(self) -> tuple[Any, ...]:
        """What a graph is made for: shapes of tensors, and all else."""
        return tuple(tensor.shape for tensor in self.tensors), self.leaves

    def batch(self, tensors: list[Tensor]) -> Structure:
        """The batch of other tensors."""
        remaining = iter(tensors)
        leaves = [next(remaining) if leaf is Tensor else leaf for leaf in self.leaves]
        return Structure(**pytree.tree_unflatten(leaves, self.spec))


def tensors_of(batch: Structure) -> Tensors:
    """The tensors of a batch and of its graph."""
    fields = {name: value for name in (*TENSORS, "graph") if (value := getattr(batch, name)) is not None}
    leaves, spec = pytree.tree_flatten(fields)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    return Tensors(tensors, tuple(Tensor if isinstance(leaf, Tensor) else leaf for leaf in leaves), spec)


class TracedStep:
    """The step for batches of one size, as a compiler makes it of the graph."""

    def __init__(
        self,
        student: Student,
        terms: Mapping[str, Term],
        example: Tensors,
        weights: list[Tensor],
        compiler: Compiler,
        pool: Pool,
    ) -> None:
        self.predicting = module = Predicting(student, *needs(terms.values()))
        parameters = dict(module.named_parameters())
        self.trained = [parameter for parameter in parameters.values() if parameter.requires_grad]
        state = {**parameters, **dict(module.named_buffers())}
        self.per_entry: dict[str, float] = {}  # norms of each term per atom or structure
        self.state = list(state.values())
        self._places = [tensor.data_ptr() for tensor in self.state]

        def step(*arguments: Tensor) -> list[Tensor]:
            """Loss, sums of the terms, and gradients, from the state, the batch, weights and factors."""
            rest = iter(arguments)
            values = {name: next(rest).detach().requires_grad_(own.requires_grad) for name, own in state.items()}
            batch = example.batch([next(rest) for _ in example.tensors])
            prediction = torch.func.functional_call(module, values, (batch,))
            totals = []
            for name, term in terms.items():
                norms = term.norms(prediction, batch)
                self.per_entry[name] = norms.numel() / term.size(batch)
                totals.append(weighted(norms, next(rest)))
            sums = torch.stack(totals)
            loss = (next(rest) * sums).sum()
            trained = [values[name] for name, own in parameters.items() if own.requires_grad]
            gradients = torch.autograd.grad(loss, trained, allow_unused=True)
            self.used = [gradient is not None for gradient in gradients]
            return [loss.detach(), sums.detach(), *(gradient for gradient in gradients if gradient is not None)]

        arguments = [*example.tensors, *weights, weights[0].new_ones(len(terms))]
        self.graph = traced(step, [*self.state, *arguments])
        self.replay = Replay(compiler(self.graph, [*self.state, *arguments]), self.state, arguments, pool)

    def moved(self) -> bool:
        """Whether parameters lie elsewhere in memory than when the step was made."""
        return self._places != [tensor.data_ptr() for tensor in self.state]

    def __call__(
        self, batch: Tensors, weights: list[Tensor], factors: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        """Loss, sums [T] of the terms, and the gradient by each of `trained`, None where there is none."""
        loss, sums, *gradients = self.replay([*batch.tensors, *weights, factors])
        found = iter(gradients)
        return loss, sums, [next(found) if used else None for used in self.used]


class Predicting(torch.nn.Module):
    """`predict` as a module, whose parameters may be given as arguments."""

    def __init__(self, student: Any, rows: bool, stress: bool) -> None:
        super().__init__()
        self.student, self.rows, self.stress = student, rows, stress

    def forward(self, batch: Structure) -> Prediction:
        """What the student predicts."""
        return predict(self.student, batch, batch.directions if self.rows else None, self.stress)


def traced(function: Function, arguments: list[Tensor]) -> torch.fx.GraphModule:
    """The operations of a function as a graph. Raises where they depend on values of tensors, or wait for them."""
    mode = FakeTensorMode()
    fakes = [mode.from_tensor(tensor.detach()) for tensor in arguments]
    with kernels.disabled(), mode:
        graph = make_fx(function, tracing_mode="real")(*fakes)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def inductor(graph: torch.fx.GraphModule, arguments: list[Tensor]) -> Function:
    """A graph compiled by torch's own compiler."""
    given: list[Any] = [argument.detach() for argument in arguments]
    with compiler_options():
        return torch._inductor.standalone_compile(graph, given)

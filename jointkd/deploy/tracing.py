"""A student as a graph of plain operations for all numbers of atoms and pairs: make_fx, then torch.export."""

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.proxy_tensor import make_fx

from jointkd.deploy.pair_form import EagerForm, Inputs
from jointkd.structures.batch import Prediction
from jointkd.students import kernels
from jointkd.students.gemnet import GemNet
from jointkd.students.graph import Graph
from jointkd.students.painn import PaiNN
from jointkd.students.triplets import SummedTriplets
from jointkd.students.uncertainty import TraceableUncertainty


class TraceableForm(EagerForm):
    """A student without anything that depends on data: its graph is made of the pairs as they are given.

    PaiNN's energies of isolated atoms are constants here.
    """

    def __init__(self, student: PaiNN | GemNet, uncertainty: TraceableUncertainty | None = None) -> None:
        plain: Any = copy.deepcopy(student)
        if isinstance(student, PaiNN):
            plain.isolated_energies = partial(torch.clone, student.isolated_energies())
        super().__init__(plain, uncertainty)

    def predict(self, vectors: Tensor, source: Tensor, target: Tensor, atomic_numbers: Tensor) -> Prediction:
        first = torch.arange(vectors.shape[0], device=vectors.device)
        graph = Graph(first, torch.cat([source, target]), torch.cat([target, source]))
        student: Any = self.student
        if isinstance(student, GemNet):
            return student.from_vectors(vectors, SummedTriplets(graph, atomic_numbers.shape[0]), atomic_numbers)
        return student.from_vectors(vectors, graph, atomic_numbers)


def trace(student: PaiNN | GemNet, example: Inputs, uncertainty: TraceableUncertainty | None = None) -> ExportedProgram:
    """Energies, forces, virial and, where it is known, uncertainties of the student's form as one graph for all sizes.

    example: inputs whose sizes are neither alike nor 0 or 1.
    """
    with kernels.disabled():  # those pay in training
        form = TraceableForm(student, uncertainty)
        function = make_fx(
            lambda *inputs: tuple(output for output in form(*inputs) if output is not None),
            tracing_mode="symbolic",
            _allow_non_fake_inputs=True,
        )
        pairs, atoms = Dim("pairs", min=2), Dim("atoms", min=2)  # the graph is right for 0 and 1 as well
        sizes = ({0: pairs}, {0: pairs}, {0: pairs}, {0: atoms})
        return torch.export.export(function(*example), example, dynamic_shapes=sizes, strict=False)

"""The plain form of students: no shape that depends on data, no wait for a device, so that it may be traced."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map_only

from jointkd.students import kernels
from jointkd.students.derivatives import predict
from jointkd.students.gemnet import GemNet
from jointkd.students.painn import PaiNN
from tests.structures import SALT, WATER, batch_of

STUDENTS = {
    "painn": lambda: PaiNN(width=8, layers=2, radial=6, cutoff=4.0),
    "painn-conservative": lambda: PaiNN(width=8, layers=2, radial=6, cutoff=4.0, conservative=True),
    "gemnet_dt": lambda: GemNet(width=8, blocks=1, spherical=2, cutoff=4.0),
    "gemnet_t": lambda: GemNet(width=8, blocks=1, spherical=2, cutoff=4.0, conservative=True),
}


@pytest.fixture(params=STUDENTS.values(), ids=STUDENTS.keys())
def student(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    return request.param().double().requires_grad_(False)


@pytest.fixture(autouse=True)
def _plain() -> Any:
    with kernels.disabled():
        yield


def everything(student: Any) -> Any:
    """Inputs → energies, forces and Hessian rows of a batch."""

    def function(positions: Tensor, numbers: Tensor, shift: Tensor, graph: Any, ptr: Tensor, rows: Tensor) -> Any:
        batch = SimpleNamespace(positions=positions, atomic_numbers=numbers, edge_shift=shift, graph=graph, ptr=ptr)
        return tuple(predict(student, batch, rows)[:3])

    return function


def inputs_of(student: Any, *atoms: Any, rows: int) -> tuple[Any, ...]:
    batch = batch_of(*atoms)
    row_ids = torch.tensor([[1, 5, 6][:rows]] * len(atoms))
    graph = student.graph_of(batch)
    return batch.positions, batch.atomic_numbers, batch.edge_shift, graph, batch.ptr, row_ids


def test_no_operation_depends_on_data(student):
    """Without symbols for unknown sizes, a fake tensor refuses to be counted, read or turned into a number."""
    inputs = inputs_of(student, WATER, SALT, rows=2)
    expected = everything(student)(*inputs)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        outputs = everything(student)(*tree_map_only(Tensor, mode.from_tensor, inputs))
    assert [tuple(output.shape) for output in outputs] == [tuple(value.shape) for value in expected]


def test_a_graph_of_the_loader_is_used_as_it_is(student, monkeypatch):
    batch = batch_of(WATER, SALT)
    expected = student(batch.positions, batch)
    batch = replace(batch, graph=student.graph_of(batch))
    monkeypatch.setattr(type(student), "graph_of", None)
    found = student(batch.positions, batch)
    assert torch.equal(found.atomic_energies, expected.atomic_energies)

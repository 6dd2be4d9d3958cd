"""Hessian rows of a student against central differences of its forces."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from jointkd.structures.batch import Structure
from jointkd.students.derivatives import predict
from jointkd.students.painn import PaiNN
from tests.structures import CUTOFF, ETHANOL, WATER, batch_of

STEP = 1e-5


def small(conservative: bool) -> Any:
    torch.manual_seed(0)
    return PaiNN(width=8, layers=2, radial=6, cutoff=CUTOFF, conservative=conservative).double().requires_grad_(False)


def hessian(student: Any, batch: Structure) -> torch.Tensor:
    """-∂F/∂R [N, 3, N, 3] of all atoms of a batch by central differences."""

    def forces(displacement: torch.Tensor) -> torch.Tensor:
        result = predict(student, replace(batch, positions=batch.positions + displacement)).forces
        assert result is not None
        return result

    moves = STEP * torch.eye(batch.positions.numel(), dtype=torch.float64).view(-1, *batch.positions.shape)
    columns = torch.stack([forces(-move) - forces(move) for move in moves], dim=-1) / (2 * STEP)
    return columns.view(*batch.positions.shape, *batch.positions.shape)


@pytest.mark.parametrize("conservative", [False, True])
def test_a_row_of_the_hessian_is_that_of_the_atom_and_the_axis_of_its_number(conservative):
    student, batch = small(conservative), batch_of(ETHANOL, WATER)
    rows = predict(student, batch, torch.tensor([[0, 16], [5, 7]])).hessian_rows
    assert rows is not None
    expected = hessian(student, batch)
    ethanol, water = slice(0, 9), slice(9, 12)
    for s, atom, axis, part in ((0, 0, 0, ethanol), (1, 5, 1, ethanol), (0, 9 + 1, 2, water), (1, 9 + 2, 1, water)):
        assert torch.allclose(rows[part, s], expected[atom, axis, part], rtol=1e-5, atol=1e-8)


def test_more_rows_than_atoms_are_those_that_are_asked_for_one_by_one():
    student, batch = small(False), batch_of(WATER)
    every = predict(student, batch, torch.arange(9)[None]).hessian_rows
    assert every is not None
    for row in range(9):
        (one,) = [predict(student, batch, torch.tensor([[row]])).hessian_rows]
        assert torch.allclose(every[:, row], one[:, 0], rtol=1e-10, atol=1e-13)

"""The modules that replace those of mace-torch compute the same values and derivatives."""

import copy
from typing import Any

import pytest
import torch
from ase.build import bulk, molecule

from jointkd.runtime import default_dtype
from jointkd.structures.frame import Frame
from jointkd.teachers import mace, mace_contraction, mace_convolution, mace_model, mace_parts
from tests.conftest import TINY_MACE
from tests.structures import rattled

pytest.importorskip("mace")

SHAPES: dict[str, dict[str, Any]] = {
    "scalars, third order": {"hidden_irreps": "3x0e", "correlation": 3, "max_ell": 2},
    "vectors and tensors, third order": {"hidden_irreps": "3x0e+3x1o+3x2e", "correlation": 3, "max_ell": 2},
    "second order": {"hidden_irreps": "2x0e+2x1o", "correlation": 2, "max_ell": 2},
    "first order": {"hidden_irreps": "2x0e", "correlation": 1, "max_ell": 1},
}


def modules_of(shape: str) -> tuple[Any, Any]:
    """A MACE model of mace-torch, and a copy with replaced modules."""
    mace.import_mace()
    card = {**TINY_MACE, "architecture": {**TINY_MACE["architecture"], "r_max": 2.6, **SHAPES[shape]}}
    with torch.random.fork_rng(devices=[]), default_dtype(torch.float64):
        torch.manual_seed(0)
        original = mace_model.build(card)
    changed = copy.deepcopy(original)
    mace_parts.replace_modules(changed)
    return original, changed


def batch_of(module: Any) -> dict[str, torch.Tensor]:
    frames = [rattled(molecule("CH3OH"), 1), rattled(bulk("CN", "zincblende", a=3.6), 3)]
    teacher = mace.MaceTeacher.__new__(mace.MaceTeacher)
    teacher.module, teacher.dtype, teacher.device = module, torch.float64, "cpu"
    teacher.identity = mace.TeacherIdentity("tiny", "0", "float64", (1, 6, 7, 8), {})
    return teacher._batch([Frame(a.numbers, a.positions, a.cell.array, a.pbc) for a in frames])


def forces_and_rows(module: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    batch = batch_of(module)
    output = module(batch, training=True, compute_force=True)
    weights = torch.randn(3, *output["forces"].shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = [torch.autograd.grad(output["forces"], batch["positions"], w, retain_graph=True)[0] for w in weights]
    return output["node_energy"].detach(), output["forces"].detach(), torch.stack(rows)


@pytest.mark.parametrize("shape", SHAPES)
def test_energies_forces_and_rows_are_those_of_the_original_modules(shape, monkeypatch):
    monkeypatch.setitem(mace_convolution.TILE, "cpu", 4000)  # several tiles, the last one smaller
    monkeypatch.setitem(mace_contraction.TILE, "cpu", 4000)
    original, changed = modules_of(shape)
    for actual, expected in zip(forces_and_rows(changed), forces_and_rows(original), strict=True):
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_all_convolutions_and_contractions_are_replaced():
    _, changed = modules_of("second order")
    assert all(isinstance(part.conv_tp, mace_convolution.Convolution) for part in changed.interactions)
    assert all(
        isinstance(part.symmetric_contractions, mace_contraction.SymmetricContraction) for part in changed.products
    )


def test_a_contraction_of_higher_order_is_not_replaced(monkeypatch):
    monkeypatch.setattr(mace_parts, "HIGHEST_ORDER", 2)
    _, changed = modules_of("scalars, third order")
    assert not any(
        isinstance(part.symmetric_contractions, mace_contraction.SymmetricContraction) for part in changed.products
    )

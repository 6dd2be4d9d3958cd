"""Products of matrices by oneDNN and by torch, and their derivatives, against torch's own."""

import pytest
import torch
from torch import Tensor

from jointkd.structures.batch import collate
from jointkd.students.derivatives import predict
from jointkd.students.gemnet import GemNet
from jointkd.students.kernels import matrices
from jointkd.students.kernels.matrices import Linear, batched, linear, onto
from tests.structures import WATER, batch_of, structure

USES = {  # function; the same by torch; shapes of both operands
    "linear": (linear, lambda x, weight: x @ weight.T, (2, 5, 3), (4, 3)),
    "batched": (batched, torch.matmul, (2, 5, 3), (2, 3, 4)),
}
EVERY_USE = pytest.mark.parametrize(("function", "expected", "left", "right"), USES.values(), ids=USES.keys())


@pytest.fixture(autouse=True)
def large_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrices, "SMALL", 0)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@EVERY_USE
def test_products_are_those_of_torch(function, expected, left, right):
    x, y = random(*left), random(*right, seed=1)
    torch.testing.assert_close(function(x, y), expected(x, y))


@EVERY_USE
def test_first_to_third_derivatives(function, expected, left, right):
    x, y = random(*left).requires_grad_(), random(*right, seed=1).requires_grad_()

    def slopes(x: Tensor, y: Tensor) -> Tensor:
        return torch.autograd.grad(function(x, y).pow(3).sum(), x, create_graph=True)[0]

    assert function(x, y).grad_fn is not None
    assert torch.autograd.gradcheck(function, (x, y), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, (x, y), check_fwd_over_rev=True)
    assert torch.autograd.gradgradcheck(slopes, (x, y), atol=1e-4)


@EVERY_USE
def test_transforms(function, expected, left, right):
    x, y = random(*left), random(*right, seed=1)
    several, others = random(3, *left, seed=2), random(3, *right, seed=3)
    for dims in ((0, None), (None, 0), (0, 0)):
        operands = (several if dims[0] == 0 else x, others if dims[1] == 0 else y)
        found, wanted = (torch.vmap(f, dims)(*operands) for f in (function, expected))
        torch.testing.assert_close(found, wanted)

    def rows(f) -> Tensor:
        pullback = torch.func.vjp(torch.func.grad(lambda x: f(x, y).pow(3).sum()), x)[1]
        return torch.vmap(pullback)(several)[0]

    torch.testing.assert_close(rows(function), rows(expected))


@pytest.mark.parametrize("layout", ["lines in order", "columns in order", "part of a wider matrix"])
@pytest.mark.parametrize(("rows", "width", "out"), [(300, 7, 40), (300, 40, 7), (1, 5, 1)])
def test_matrices_of_single_precision_of_any_layout_and_shape(layout, rows, width, out):
    def laid_out(matrix: Tensor) -> Tensor:
        if layout == "part of a wider matrix":
            return torch.cat([matrix, matrix], dim=1)[:, : matrix.shape[1]]
        return matrix.T.contiguous().T if layout == "columns in order" else matrix

    a, b, c = random(rows, width), random(width, out, seed=1), random(rows, out, seed=2)
    for to in matrices.PLACES:
        given = [None if place == to else x for place, x in zip(matrices.PLACES, (a, b, c), strict=True)]
        single = [None if x is None else laid_out(x.float()) for x in given]
        torch.testing.assert_close(
            matrices.value(to, single).double(), matrices.value(to, given), rtol=1e-5, atol=1e-5 * rows**0.5
        )


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_is_that_of_torch(monkeypatch, bias):
    layer = Linear(3, 4, bias=bias).double()
    x, summed = random(2, 5, 3), []
    monkeypatch.setattr(matrices, "onto", lambda to, every: summed.append(to) or onto(to, every))
    found = layer(x)
    assert summed == ["c"]
    torch.testing.assert_close(found, torch.nn.functional.linear(x, layer.weight, layer.bias))


def test_mixed_precision_is_left_to_torch():
    x, weight = random(5, 3, dtype=torch.float32), random(4, 3, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(x, weight).dtype == batched(x[None], weight.T[None]).dtype == torch.bfloat16


@pytest.mark.parametrize("conservative", [True, False])
def test_a_student_may_be_trained_in_mixed_precision(conservative):
    torch.manual_seed(0)
    student = GemNet(width=16, blocks=2, cutoff=4.0, conservative=conservative)
    batch = collate([structure(WATER)])

    def gradient() -> Tensor:
        prediction = predict(student, batch, torch.tensor([[0, 4]]))
        loss = prediction.forces.float().square().mean() + prediction.hessian_rows.float().square().mean()
        slopes = torch.autograd.grad(loss, list(student.parameters()), materialize_grads=True)
        return torch.cat([slope.flatten() for slope in slopes])

    exact = gradient()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = gradient()
    assert (mixed - exact).norm() < 0.1 * exact.norm()


@pytest.mark.parametrize("conservative", [True, False])
def test_the_hessian_loss_of_a_student_has_the_same_gradients_by_both_ways(monkeypatch, conservative):
    torch.manual_seed(0)
    student, slopes = GemNet(width=8, blocks=2, cutoff=4.0, conservative=conservative).double(), []
    for size in (0, 2**40):
        monkeypatch.setattr(matrices, "SMALL", size)
        rows = predict(student, batch_of(WATER), torch.tensor([[0, 4]])).hessian_rows
        slopes.append(torch.autograd.grad(rows.square().sum(), list(student.parameters()), materialize_grads=True))
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-12)

"""When kernels are used, and what is special to each of them."""

from dataclasses import replace

import pytest
import torch
from ase import Atoms
from ase.build import molecule

from jointkd.structures.batch import collate
from jointkd.students import kernels, operations
from jointkd.students.basis import RadialBasis
from jointkd.students.derivatives import predict
from jointkd.students.gemnet import GemNet
from jointkd.students.graph import Graph
from jointkd.students.kernels import onednn
from jointkd.students.kernels.activation import scaled_silu
from jointkd.students.kernels.bands import Bands
from jointkd.students.kernels.blocks import Blocks
from jointkd.students.kernels.grouped_triplets import GroupedTriplets
from jointkd.students.kernels.pair_list import PairList
from jointkd.students.operations import Linear, ScaledSiLU, pair_graph, radial_filters, triplet_graph
from jointkd.students.painn import PaiNN
from jointkd.students.triplets import PaddedTriplets
from tests.structures import CUTOFF, ETHANOL, SALT, WATER, batch_of, rattled, structure

BENZENE = rattled(molecule("C6H6"), 5)
STRETCHED = Atoms("OCCS", [[-3.3, 0, 0], [-1.5, 0, 0.2], [0.1, 0.3, 0], [2.0, 0, 0]])  # its ends are no neighbours
LARGE_CELL = Atoms(ETHANOL.numbers, ETHANOL.positions, cell=[9.0] * 3, pbc=True)
LARGE_CELL.positions += 8.5  # bonds cross the boundary
LARGE_CELL.wrap()
MANY = (ETHANOL, WATER, STRETCHED, BENZENE, LARGE_CELL, Atoms("H"))


@pytest.fixture(autouse=True)
def _no_size_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in vars(operations):
        if name.startswith("SMALL_"):
            monkeypatch.setattr(operations, name, 0)


def test_one_switch_turns_every_kernel_off(monkeypatch):
    monkeypatch.setattr(onednn, "is_faster", lambda: True)
    batch, x = batch_of(*MANY), torch.linspace(0, 1, 9, dtype=torch.float64).requires_grad_()
    basis, layer, activation = RadialBasis(4, True).double(), Linear(9, 2, bias=False).double(), ScaledSiLU()

    def kinds() -> list[bool]:
        return [
            "Contraction" in activation(x).grad_fn.name(),
            "Contraction" in layer(x[None]).grad_fn.next_functions[0][0].name(),
            isinstance(radial_filters(basis, x), Bands),
            isinstance(pair_graph(batch, 3), PairList),
            isinstance(triplet_graph(batch, 3, 2), GroupedTriplets),
            PaiNN(width=8, layers=1, radial=4).double()(batch.positions, batch).forces_of is not None,
        ]

    assert all(kinds())
    with kernels.disabled():
        assert not any(kinds())
        with kernels.disabled():
            pass
        assert not any(kinds())
    assert all(kinds())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not any(kinds()[2:])
    assert not kernels.on(torch.empty(1, device="meta"))


def test_on_another_device_graphs_are_the_plain_ones():
    batch = batch_of(*MANY)
    for graph, kind in ((pair_graph(batch, 3), Graph), (triplet_graph(batch, 3, 2), PaddedTriplets)):
        assert graph.to(torch.device("cpu")) is graph
        moved = graph.to(torch.device("meta"))
        assert type(moved) is kind
        tensors = [x for x in (*moved, *moved[0]) if isinstance(x, torch.Tensor)]
        assert {x.device.type for x in tensors} == {"meta"}


@pytest.mark.parametrize(("leaf", "entries"), [(3, 8), (24, 2400)], ids=["many blocks", "one for each molecule"])
def test_every_pair_of_neighbours_has_its_entry_in_blocks_and_its_vector(monkeypatch, leaf, entries):
    monkeypatch.setattr("jointkd.students.kernels.blocks.LEAF", leaf)
    monkeypatch.setattr("jointkd.students.kernels.blocks.ENTRIES", entries)
    batch = batch_of(*MANY)
    graph = Graph.of(batch)
    blocks = pair_graph(batch, 3)
    assert isinstance(blocks, Blocks)
    expected = graph.vectors(batch.positions, batch.edge_shift)
    vectors = blocks.vectors(batch.positions, batch.edge_shift)
    both = torch.cat([expected, -expected])
    torch.testing.assert_close(vectors[blocks.pair] * blocks.sign[:, None], both)
    assert torch.all(torch.linalg.norm(vectors[~blocks.present], dim=1) > CUTOFF)
    assert sum(len(b.directions) * int(blocks.present[b.entries].sum()) for b in blocks.blocks) == len(both)
    near = blocks.ending_in(torch.tensor([4, 0]))
    own = vectors[near.pair] * near.sign[:, None]
    ends = batch.positions[near.source] - batch.positions[near.atoms[near.target]]
    torch.testing.assert_close(own, ends)


@pytest.mark.parametrize(
    "atoms",
    [(SALT,), (Atoms("HO", [[0, 0, 0], [0, 0, 30.0]]),), (ETHANOL, Atoms("C40", torch.randn(40, 3).numpy() * 50))],
    ids=["a crystal", "no neighbours", "few neighbours"],
)
def test_what_is_not_dense_or_has_images_stays_a_list_of_pairs(atoms):
    assert not isinstance(pair_graph(batch_of(*atoms), 3), Blocks)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-14), (torch.float32, 2e-6)], ids=["double", "single"])
def test_bands_lose_nothing_and_are_narrow(dtype, bound):
    basis = RadialBasis(128, True).to(dtype)
    x = torch.linspace(0, 1.1, 500, dtype=dtype).requires_grad_()
    weights = torch.randn(3, 129, generator=torch.Generator().manual_seed(0), dtype=dtype)
    bands = Bands(basis, x)
    found, expected = bands(weights), basis(x) @ weights.T
    assert (found - expected).abs().max() < bound
    slopes, expected_slopes = (torch.autograd.grad(f.sum(), x)[0] for f in (found, expected))
    assert (slopes - expected_slopes).abs().max() < bound * expected_slopes.abs().max()


def test_bands_of_like_distances_are_narrow(monkeypatch):
    monkeypatch.setattr("jointkd.students.kernels.bands.TILE", 5)
    bands = Bands(RadialBasis(128, True).double(), torch.linspace(0, 1, 500, dtype=torch.float64))
    bands(torch.ones(1, 129, dtype=torch.float64))
    assert max(len(tile.columns) for tile in bands._tiles) <= 23


def test_derivatives_of_the_activation_stay_finite_far_from_zero():
    far = torch.tensor([-1e4, -200.0, 200.0, 1e4]).requires_grad_()
    value = scaled_silu(far)
    assert torch.allclose(value, far.clamp_min(0) / 0.6)
    for order in range(4):
        (value,) = torch.autograd.grad(value.sum(), far, create_graph=True)
        assert torch.allclose(value, (far > 0).float() / 0.6) if order == 0 else not value.any()


@pytest.mark.parametrize("layout", ["lines in order", "columns in order", "part of a wider matrix"])
@pytest.mark.parametrize(("rows", "width", "out"), [(300, 7, 40), (300, 40, 7), (7, 300, 5), (1, 5, 1)])
def test_onednn_multiplies_matrices_of_any_layout_and_shape(monkeypatch, layout, rows, width, out):
    monkeypatch.setattr(onednn, "is_faster", lambda: True)
    multiplied = []
    monkeypatch.setattr(
        onednn, "times_transposed", lambda x, y, own=onednn.times_transposed: multiplied.append(1) or own(x, y)
    )

    def laid_out(matrix: torch.Tensor) -> torch.Tensor:
        if layout == "part of a wider matrix":
            return torch.cat([matrix, matrix], dim=1)[:, : matrix.shape[1]]
        return matrix.T.contiguous().T if layout == "columns in order" else matrix

    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((rows, width), (width, out)))
    found = onednn.matmul(laid_out(x.float()), laid_out(y.float()))
    assert multiplied
    torch.testing.assert_close(found.double(), x @ y, rtol=1e-5, atol=1e-5 * width**0.5)


@pytest.mark.parametrize("make", [GemNet, PaiNN])
@pytest.mark.parametrize("conservative", [True, False])
@pytest.mark.parametrize("loaded", [True, False], ids=["graph of the loader", "own graph"])
def test_a_student_may_be_trained_in_mixed_precision(make, conservative, loaded):
    torch.manual_seed(0)
    student = make(width=16, cutoff=4.0, conservative=conservative)
    batch = collate([structure(WATER), structure(ETHANOL)])
    if loaded:
        batch = replace(batch, graph=student.graph_of(batch))

    def gradient() -> torch.Tensor:
        prediction = predict(student, batch, torch.tensor([[0, 4], [2, 5]]))
        loss = prediction.forces.float().square().mean() + prediction.hessian_rows.float().square().mean()
        slopes = torch.autograd.grad(
            loss, [each for each in student.parameters() if each.requires_grad], materialize_grads=True
        )
        return torch.cat([slope.flatten() for slope in slopes])

    exact = gradient()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = gradient()
    assert (mixed - exact).norm() < 0.1 * exact.norm()

"""Neighbours equal those of ASE, with every periodic image, unless their number is capped."""

import itertools

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.neighborlist import neighbor_list

from jointkd.structures.neighbors import backward, neighbors
from tests.structures import TRICLINIC, rattled

CASES = {
    "molecule": (rattled(molecule("C6H6"), 0), 3.0),
    "molecule beyond its size": (rattled(molecule("CH3OH"), 1), 12.0),
    "crystal smaller than the cutoff": (rattled(bulk("NaCl", "rocksalt", a=5.6), 2), 6.5),
    "primitive cell of one atom": (bulk("Cu"), 5.0),
    "triclinic": (Atoms("H2O", [[0, 0, 0], [2, 1, 3], [1, 3, 0.5]], cell=TRICLINIC, pbc=True), 5.5),
    "atoms outside the cell": (Atoms("H2O", [[-9, 2, 0], [2, 11, 3], [1, 3, -7.5]], cell=TRICLINIC, pbc=True), 5.5),
    "slab": (rattled(fcc111("Al", (1, 2, 3), vacuum=5), 3), 6.0),
    "chain": (Atoms("HF", [[0, 0, 0], [1, 0, 0]], cell=[2.3, 0, 0], pbc=[True, False, False]), 5.0),
    "cell that is not periodic": (Atoms("HF", [[0, 0, 0], [1, 0, 0]], cell=[2.3, 3, 3], pbc=False), 5.0),
    "single atom": (Atoms("H"), 5.0),
    "atoms too far apart": (Atoms("H2", [[0, 0, 0], [9, 0, 0]]), 5.0),
}


@pytest.mark.parametrize("name", CASES)
def test_neighbours_equal_those_of_ase(name):
    atoms, cutoff = CASES[name]
    edge_index, edge_shift, _ = neighbors(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    source, target = edge_index.numpy()
    vectors = atoms.positions[source] + edge_shift.numpy() - atoms.positions[target]
    ase_target, ase_source, ase_vectors = neighbor_list("ijD", atoms, cutoff)

    def in_order(target, source, vectors):
        rows = np.column_stack([target, source, vectors])
        return rows[np.lexsort(np.round(rows.T[::-1], 6))]

    found, expected = in_order(target, source, vectors), in_order(ase_target, ase_source, ase_vectors)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_edges_occur_in_both_directions_sorted_by_target(name):
    atoms, cutoff = CASES[name]
    edge_index, edge_shift, _ = neighbors(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    there = {
        (s, t, *np.round(shift, 6) + 0.0) for s, t, shift in zip(*edge_index.tolist(), edge_shift.numpy(), strict=True)
    }
    back = {
        (t, s, *-np.round(shift, 6) + 0.0) for s, t, shift in zip(*edge_index.tolist(), edge_shift.numpy(), strict=True)
    }
    assert there == back
    assert (edge_index[1].diff() >= 0).all()
    assert edge_index.dtype.is_signed
    assert edge_shift.shape == (edge_index.shape[1], 3)


def vectors_of(atoms, edge_index, edge_shift):
    source, target = edge_index.numpy()
    return atoms.positions[source] + edge_shift.numpy() - atoms.positions[target]


@pytest.mark.parametrize("most", [None, 3])
@pytest.mark.parametrize("name", CASES)
def test_the_reverse_of_an_edge_has_the_opposite_vector(name, most):
    atoms, cutoff = CASES[name]
    edge_index, edge_shift, reverse = neighbors(atoms.positions, atoms.cell.array, atoms.pbc, cutoff, most)
    assert reverse.dtype == edge_index.dtype
    own = torch.arange(len(reverse))
    assert (reverse[reverse] == own).all()
    assert (reverse != own).all()
    assert (edge_index[:, reverse] == edge_index.flip(0)).all()
    vectors = vectors_of(atoms, edge_index, edge_shift)
    np.testing.assert_allclose(vectors[reverse], -vectors, atol=1e-12)


@pytest.mark.parametrize("most", [1, 3, 8])
@pytest.mark.parametrize("name", ["molecule", "triclinic", "atoms outside the cell"])
def test_a_cap_keeps_the_pairs_among_the_nearest_of_their_later_atom(name, most):
    atoms, cutoff = CASES[name]
    edge_index, edge_shift, _ = neighbors(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    vectors = vectors_of(atoms, edge_index, edge_shift)
    distances = np.linalg.norm(vectors, axis=1)
    kept = set()
    for source, target, vector, distance in zip(*edge_index.tolist(), vectors, distances, strict=True):
        nearer = distances[edge_index.numpy()[1] == target] < distance - 1e-9
        if source < target and nearer.sum() < most:
            kept |= {(source, target, *np.round(vector, 6)), (target, source, *np.round(-vector, 6) + 0.0)}
    edge_index, edge_shift, _ = neighbors(atoms.positions, atoms.cell.array, atoms.pbc, cutoff, most)
    found = zip(*edge_index.tolist(), np.round(vectors_of(atoms, edge_index, edge_shift), 6) + 0.0, strict=True)
    assert {(s, t, *v) for s, t, v in found if s != t} == kept


@pytest.mark.parametrize("name", CASES)
def test_a_cap_above_the_number_of_neighbours_has_no_effect(name):
    atoms, cutoff = CASES[name]
    capped, free = (neighbors(atoms.positions, atoms.cell.array, atoms.pbc, cutoff, most) for most in (10_000, None))
    assert all((a == b).all() for a, b in zip(capped, free, strict=True))


@pytest.mark.parametrize("most", [2, 5])
def test_a_cap_keeps_the_nearest_images_of_an_atom_itself(most):
    atoms, cutoff = CASES["primitive cell of one atom"]
    edge_index, edge_shift, _ = neighbors(atoms.positions, atoms.cell.array, atoms.pbc, cutoff, most)
    distances = np.linalg.norm(vectors_of(atoms, edge_index, edge_shift), axis=1)
    assert most <= len(distances) <= 2 * most
    np.testing.assert_allclose(distances, 3.61 / np.sqrt(2))


def test_of_an_image_and_its_opposite_exactly_one_is_backward():
    images = np.array([image for image in itertools.product((-1, 0, 1), repeat=3) if any(image)])
    assert (backward(images) != backward(-images)).all()
    assert not backward(np.zeros((1, 3), dtype=int)).any()

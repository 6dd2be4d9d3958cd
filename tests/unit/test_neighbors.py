"""Neighbours are those that ASE finds, with every periodic image."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.neighborlist import neighbor_list

from jointkd.neighbors import neighbors
from tests.structures import rattled

TRICLINIC = [[4.0, 0.0, 0.0], [1.5, 3.5, 0.0], [-0.7, 0.9, 5.0]]
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
def test_neighbours_are_those_of_ase(name):
    atoms, cutoff = CASES[name]
    edge_index, edge_shift = neighbors(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
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
def test_edges_come_in_both_directions_sorted_by_target(name):
    atoms, cutoff = CASES[name]
    edge_index, edge_shift = neighbors(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
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

"""Neighbours with a skin against neighbours that are searched in every step."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from jointkd.deploy.skin import SkinNeighbors
from jointkd.structures.neighbors import find_pairs, lengths
from tests.structures import ETHANOL, TRICLINIC

CUTOFF = 4.0
SYSTEMS = {
    "molecule": ETHANOL,
    "crystal": bulk("NaCl", "rocksalt", a=5.6, cubic=True),
    "small triclinic cell": Atoms("NaCl", [[0, 0, 0], [1.9, 1.9, 1.7]], cell=3.7 * np.array(TRICLINIC), pbc=True),
    "slab": Atoms("NaCl", [[0, 0, 0], [0, 0, 2.5]], cell=[4, 4, 0], pbc=[1, 1, 0]),
    "wire": Atoms("NaCl", [[0, 0, 0], [0, 0, 2.5]], cell=[0, 0, 5], pbc=[0, 0, 1]),
    "one atom": Atoms("H"),
    "two distant atoms": Atoms("H2", [[0, 0, 0], [9, 0, 0]]),
}


@pytest.fixture(params=SYSTEMS.values(), ids=SYSTEMS.keys())
def atoms(request: pytest.FixtureRequest) -> Atoms:
    return request.param.copy()


def described(source: np.ndarray, target: np.ndarray, vectors: np.ndarray) -> list[tuple[float, ...]]:
    """Pairs in an order and a direction of their own, so that two lists can be compared."""
    forward, back = (
        np.column_stack([first, second, (sign * vectors).round(9) + 0.0])
        for first, second, sign in ((source, target, 1), (target, source, -1))
    )
    return sorted(map(tuple, np.concatenate([forward, back]).tolist()))


def searched(atoms: Atoms) -> list[tuple[float, ...]]:
    pairs = find_pairs(atoms.positions, atoms.cell.array, atoms.pbc, CUTOFF)
    target, source = pairs.atoms.T
    vectors = atoms.positions[source] - atoms.positions[target]
    if len(pairs.images):
        vectors = vectors + pairs.images @ atoms.cell.array
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), lengths(pairs, atoms.positions, atoms.cell.array))
    return described(source, target, vectors)


def pairs_of(neighbors: SkinNeighbors, atoms: Atoms) -> list[tuple[float, ...]]:
    return described(*neighbors.pairs(atoms.positions, atoms.cell.array, atoms.pbc))


def test_moving_atoms_have_the_pairs_that_a_search_finds_also_when_they_are_wrapped_into_their_cell(atoms):
    neighbors, rng = SkinNeighbors(CUTOFF, 1.0), np.random.default_rng(0)
    for step in range(60):
        atoms.positions += rng.normal(scale=0.04, size=(len(atoms), 3))
        atoms.positions -= 0.3 * (step % 7 == 0) * atoms.cell.array.sum(0) / 3  # all at once, past a face of the cell
        if step % 3 == 0:
            atoms.wrap()
        if step % 5 == 0:
            atoms.positions[0] += 3 * atoms.cell.array[2] * atoms.pbc[2]  # left through two faces
        assert pairs_of(neighbors, atoms) == searched(atoms)
    assert 1 < neighbors.searches <= 40


def test_atoms_are_searched_anew_when_one_has_moved_by_more_than_half_the_skin(atoms):
    neighbors = SkinNeighbors(CUTOFF, 1.0)
    pairs_of(neighbors, atoms)
    atoms.positions[0] += [0.3, 0.39, 0.0]
    pairs_of(neighbors, atoms)
    assert neighbors.searches == 1
    atoms.positions[0] += [0.02, 0.02, 0.0]
    pairs_of(neighbors, atoms)
    assert neighbors.searches == 2


def test_atoms_that_go_to_another_cell_are_not_searched_anew(atoms):
    neighbors = SkinNeighbors(CUTOFF, 1.0)
    pairs_of(neighbors, atoms)
    atoms.positions += 0.1
    atoms.positions[0] += ([3, -1, 2] * atoms.pbc) @ atoms.cell.array
    assert pairs_of(neighbors, atoms) == searched(atoms)
    assert neighbors.searches == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda atoms: atoms.set_cell(atoms.cell * 1.001),
        lambda atoms: atoms.set_pbc([True, True, False]),
        lambda atoms: atoms.pop(3),
    ],
    ids=["cell", "pbc", "number of atoms"],
)
def test_another_cell_and_other_atoms_are_searched_anew(change):
    atoms, neighbors = SYSTEMS["crystal"].copy(), SkinNeighbors(CUTOFF, 1.0)
    pairs_of(neighbors, atoms)
    change(atoms)
    assert pairs_of(neighbors, atoms) == searched(atoms)
    assert neighbors.searches == 2


def test_a_cap_on_neighbours_is_decided_in_every_step():
    atoms, neighbors = SYSTEMS["crystal"].copy(), SkinNeighbors(CUTOFF, 1.0, max_neighbors=6)
    for _ in range(3):
        atoms.rattle(0.01)
        found = neighbors.pairs(atoms.positions, atoms.cell.array, atoms.pbc)
        assert len(found.source) == len(find_pairs(atoms.positions, atoms.cell.array, atoms.pbc, CUTOFF, 6).atoms)
    assert neighbors.searches > 1

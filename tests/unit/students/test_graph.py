"""The plain neighbour graph against the structure's list of edges."""

import pytest
import torch

from jointkd.students.graph import Graph, twice
from tests.structures import ETHANOL, SPECIAL, WATER, batch_of

BATCH = batch_of(SPECIAL["wire"], SPECIAL["HCN"], cutoff=2.4)  # an atom is a neighbour of its own image
GRAPH = Graph.of(BATCH)
PAIRS = len(GRAPH.first)


def test_the_first_edge_of_every_pair_comes_first_and_its_reverse_as_many_edges_later():
    edges = torch.cat([GRAPH.first, BATCH.edge_reverse[GRAPH.first]])
    assert edges.sort().values.tolist() == list(range(len(BATCH.edge_reverse)))
    assert torch.equal(torch.stack([GRAPH.source, GRAPH.target]), BATCH.edge_index[:, edges])
    x = torch.arange(2.0 * PAIRS)[:, None]
    assert GRAPH.reverse(x)[:, 0].tolist() == [*range(PAIRS, 2 * PAIRS), *range(PAIRS)]


def test_vectors_lead_from_the_target_of_a_pairs_first_edge_to_its_source():
    vectors = GRAPH.vectors(BATCH.positions, BATCH.edge_shift)
    assert torch.all(vectors.norm(dim=1) < 2.4)
    ends = BATCH.positions[GRAPH.source[:PAIRS]] - BATCH.positions[GRAPH.target[:PAIRS]]
    torch.testing.assert_close(vectors - ends, BATCH.edge_shift[GRAPH.first])


@pytest.mark.parametrize("directed", [False, True])
def test_messages_are_summed_over_both_edges_of_a_pair_with_opposite_directions(directed):
    generator = torch.Generator().manual_seed(0)
    filters, features, directions = (
        torch.randn(*shape, generator=generator) for shape in ((PAIRS, 2), (1, len(BATCH.positions), 2), (3, PAIRS))
    )
    expected = torch.zeros(3 if directed else 1, len(BATCH.positions), 2)
    for edge, (source, target) in enumerate(zip(GRAPH.source.tolist(), GRAPH.target.tolist(), strict=True)):
        message = filters[edge % PAIRS] * features[0, source]
        along = directions[:, edge % PAIRS, None] * (1 if edge < PAIRS else -1)
        expected[:, target] += along * message if directed else message
    torch.testing.assert_close(GRAPH.aggregate(filters, features, directions if directed else None), expected)


def test_edges_are_multiplied_by_what_belongs_to_their_pair_and_summed_on_atoms():
    x, by_pair = torch.randn(2 * PAIRS, 3), torch.randn(PAIRS, 3)
    torch.testing.assert_close(GRAPH.times(x, by_pair), x * twice(by_pair))
    expected = torch.stack([x[GRAPH.target == atom].sum(0) for atom in range(len(BATCH.positions))])
    torch.testing.assert_close(GRAPH.sum(x, len(BATCH.positions)), expected)


def test_edges_to_some_atoms_are_all_of_theirs_and_know_their_pairs():
    batch = batch_of(ETHANOL, WATER)
    graph = Graph.of(batch)
    atoms = torch.tensor([9, 0, 9])
    near = graph.ending_in(atoms)
    for place, atom in enumerate(atoms.tolist()):
        mine = near.target == place
        assert near.edge[mine].tolist() == (graph.target == atom).nonzero()[:, 0].tolist()
    vectors = graph.vectors(batch.positions, batch.edge_shift)
    ends = batch.positions[near.source] - batch.positions[atoms[near.target]]
    torch.testing.assert_close(vectors[near.pair] * near.sign[:, None], ends)

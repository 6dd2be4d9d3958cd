"""The repulsion of nuclei at short distances: exact, smooth, and nothing where bonds are."""

import itertools

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.data import covalent_radii

from jointkd.errors import ConfigError
from jointkd.runtime import default_dtype
from jointkd.structures.bonds import shortest_distances
from jointkd.students import kernels
from jointkd.students.derivatives import predict
from jointkd.students.gemnet import GemNet
from jointkd.students.painn import PaiNN
from jointkd.students.repulsion import MARGIN, REACH, Repulsion, fit_reach
from tests.labelled import frame_of
from tests.structures import CUTOFF, batch_of

STUDENTS = {
    "painn": lambda **more: PaiNN(width=8, layers=2, radial=6, cutoff=CUTOFF, conservative=True, **more),
    "gemnet": lambda **more: GemNet(width=8, blocks=1, cutoff=CUTOFF, conservative=True, **more),
}
HARTREE_BOHR = 14.399645  # eV Å


def pair_energy(first: str, second: str, distance: float) -> float:
    """The energy of two atoms by the repulsion of a student alone."""
    batch = batch_of(Atoms(first + second, [[0, 0, 0], [0, 0, distance]]))
    with default_dtype(torch.float64):
        repulsion = Repulsion(83)
    graph = PaiNN(width=2, layers=1, radial=2, cutoff=CUTOFF).graph_of(batch)
    vectors = graph.vectors(batch.positions, batch.edge_shift)
    return float(repulsion(vectors, graph, batch.atomic_numbers).sum())


@pytest.fixture(params=STUDENTS)
def twins(request):
    """A student with repulsion and one without, of the same weights in float64."""
    with default_dtype(torch.float64):
        torch.manual_seed(0)
        plain, repelled = STUDENTS[request.param](), STUDENTS[request.param](repulsion=True)
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    repelled.load_state_dict({**repelled.state_dict(), **plain.state_dict()})
    return plain, repelled


def test_at_very_short_distances_it_is_the_potential_of_ziegler_biersack_and_littmark():
    for first, second, distance in (("C", "C", 0.15), ("O", "H", 0.1), ("Si", "O", 0.2)):
        z1, z2 = Atoms(first + second).numbers
        scaled = distance * (z1**0.23 + z2**0.23) / (0.8854 * 0.529177)
        terms = ((0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162))
        expected = HARTREE_BOHR * z1 * z2 / distance * sum(w * np.exp(-b * scaled) for w, b in terms)
        assert pair_energy(first, second, distance) == pytest.approx(expected, rel=0.03)  # the switch has begun


def test_it_falls_monotonically_and_is_nothing_beyond_its_reach():
    for first, second in itertools.combinations_with_replacement(("H", "C", "O", "Cl", "Cu"), 2):
        a, b = Atoms(first + second).numbers
        reach = REACH * (covalent_radii[a] + covalent_radii[b])
        curve = [pair_energy(first, second, distance) for distance in np.linspace(0.1, 1.2, 40) * reach]
        assert all(before >= after for before, after in itertools.pairwise(curve))
        assert curve[0] > 50
        assert pair_energy(first, second, 1.0001 * reach) == 0


@pytest.mark.parametrize(
    "name", ["N2", "C2H2", "CO", "HCN", "CH3CH2OH", "H2", "O3", "Si2H6", "SO2", "F2", "HCl", "BCl3"]
)
def test_equilibrium_structures_do_not_feel_it(twins, name):
    plain, repelled = (predict(student, batch_of(molecule(name))) for student in twins)
    assert torch.equal(plain.atomic_energies, repelled.atomic_energies)
    assert torch.equal(plain.forces, repelled.forces)


def squeezed(seed: int) -> Atoms:
    """A molecule whose atoms are far closer than bonds."""
    atoms = molecule("CH3CH2OH")
    atoms.positions *= 0.6
    atoms.rattle(0.05, seed=seed)
    return atoms


def test_it_adds_to_energies_forces_and_rows_what_finite_differences_say(twins):
    _, student = twins
    atoms, step = squeezed(1), 1e-4
    ids = torch.tensor([[0, 7, 20]])
    exact = predict(student, batch_of(atoms), ids)
    for number, row in enumerate(ids[0].tolist()):
        ahead, behind = (atoms.copy() for _ in range(2))
        ahead.positions.flat[row] += step
        behind.positions.flat[row] -= step
        moved = [predict(student, batch_of(copy)) for copy in (ahead, behind)]
        energies = [float(each.atomic_energies.sum()) for each in moved]
        force = float(exact.forces.flatten()[row])
        assert -(energies[0] - energies[1]) / (2 * step) == pytest.approx(force, rel=1e-5, abs=1e-4)
        difference = -(moved[0].forces - moved[1].forces) / (2 * step)
        torch.testing.assert_close(exact.hessian_rows[:, number], difference, rtol=1e-4, atol=1e-2)


def test_kernels_add_the_same(twins):
    _, student = twins
    batch = batch_of(squeezed(2), molecule("CO"), squeezed(3))
    fast = predict(student, batch, torch.tensor([[0], [1], [4]]))
    with kernels.disabled():
        plain = predict(student, batch, torch.tensor([[0], [1], [4]]))
    torch.testing.assert_close(fast.atomic_energies, plain.atomic_energies)
    torch.testing.assert_close(fast.hessian_rows, plain.hessian_rows)


def test_atoms_that_coincide_have_finite_energies_and_forces(twins):
    _, student = twins
    prediction = predict(student, batch_of(Atoms("OH", [[0, 0, 0], [0, 0, 1e-9]])))
    assert torch.isfinite(prediction.atomic_energies).all()
    assert torch.isfinite(prediction.forces).all()


@pytest.mark.parametrize("make", [PaiNN, GemNet])
def test_a_student_with_a_force_head_has_none(make):
    remedy = "set student.conservative=true, or student.repulsion=false"
    with pytest.raises(ConfigError, match=f"student.repulsion=true is an energy, .* {remedy}"):
        make(width=8, conservative=False, repulsion=True)


def test_fitted_it_acts_below_the_distances_of_the_training_structures(twins):
    plain, student = twins
    water = molecule("H2O")
    shortest = shortest_distances([frame_of(water), frame_of(squeezed(1))])
    said = fit_reach(student, shortest)
    assert f"H–O {MARGIN * shortest[1, 8]:.2f}" in said
    for atoms in (water, squeezed(1)):
        energies = [predict(each, batch_of(atoms)).atomic_energies for each in (plain, student)]
        assert torch.equal(*energies)  # also where atoms are far closer than bonds, as the data have them so
    between = Atoms("OH", [[0, 0, 0], [0, 0, 0.8 * MARGIN * shortest[1, 8]]])
    energies = [float(predict(each, batch_of(between)).atomic_energies.sum()) for each in (plain, student)]
    assert energies[1] > energies[0] + 0.1


def test_atoms_that_are_never_near_each_other_are_kept_apart_as_far_as_twice_their_radii():
    """The hydrogens of water are 1.5 Å apart, more than twice the sum of their radii."""
    shortest = shortest_distances([frame_of(molecule("H2O"))])
    assert shortest[1, 1] == pytest.approx(4 * covalent_radii[1])
    assert (8, 8) not in shortest  # no structure has two oxygens
    student = STUDENTS["painn"](repulsion=True)
    fit_reach(student, shortest)
    assert float(student.short_range.reach[0, 0]) == pytest.approx(MARGIN * 4 * covalent_radii[1])
    assert float(student.short_range.reach[7, 7]) == pytest.approx(2 * REACH * covalent_radii[8])


def test_a_student_that_was_trained_before_keeps_its_repulsion_where_new_data_are_not_nearer():
    student = STUDENTS["painn"](repulsion=True)
    fit_reach(student, {(1, 1): 1.2, (1, 8): 1.0})
    fit_reach(student, {(1, 1): 0.8, (1, 8): 1.5}, only_shorten=True)
    assert float(student.short_range.reach[0, 0]) == pytest.approx(MARGIN * 0.8)
    assert float(student.short_range.reach[0, 7]) == pytest.approx(MARGIN * 1.0)


def test_crystals_know_the_distance_of_an_atom_to_its_own_images():
    crystal = bulk("Cu", a=3.6)
    assert shortest_distances([frame_of(crystal)])[29, 29] == pytest.approx(3.6 / 2**0.5)

"""Replicas that are watched: what ends them, for how long they were whole, and the share that survives."""

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixCom

from jointkd.simulation.lifetimes import Row, Watch, Watched, rows_of, survival
from jointkd.simulation.replicas import Integration, Replica, ReplicaDynamics
from jointkd.simulation.stability import CONTACT, DEVIATION, FRAGMENTS, Stability
from tests.unit.acceptance.toys import collapsing, model_of, morse


def watched(*speeds: float, shortest: float = 0.0) -> list[Watched]:
    """Molecules of iodine whose atoms fly apart (or, where it is negative, together) at so many Å per ASE's time."""
    all_of_them = []
    for number, speed in enumerate(speeds):
        atoms = Atoms("I2", [[0, 0, 0], [0, 0, 2.67]])
        atoms.set_constraint(FixCom())
        atoms.set_velocities([[0, 0, -speed / 2], [0, 0, speed / 2]])
        stability = Stability(atoms, 0.5, 0.6, {}, shortest)
        all_of_them.append(Watched(number, 7, Replica(atoms, np.random.default_rng(number), 300.0), stability))
    return all_of_them


def watch(each: list[Watched], stop_when: str = "broken", function=morse) -> Watch:
    dynamics = ReplicaDynamics(model_of(function), [one.replica for one in each], Integration("nve", 2.0))
    return Watch(dynamics, each, 10, stop_when)


def test_those_that_break_leave_the_batch_and_the_others_go_on_as_alone():
    together = watched(0.0, 0.3, 0.01)
    run = watch(together)
    run.run(200)
    assert [each.alive for each in together] == [True, False, True]
    assert [each.structure for each in run.moving] == [0, 2]
    assert together[1].times[-1] < together[0].times[-1] == pytest.approx(0.4)
    kinds = [event.kind for event in together[1].events]
    assert kinds == [DEVIATION, FRAGMENTS]
    (alone,) = watched(0.01)
    watch([alone]).run(200)
    np.testing.assert_allclose(together[2].replica.atoms.positions, alone.replica.atoms.positions, atol=1e-10)


def test_nothing_runs_on_where_all_have_ended():
    both = watched(0.3, 0.3)
    run = watch(both)
    run.run(100000)
    assert run.step < 1000
    assert not run.moving


def test_the_papers_criterion_ends_it_at_the_first_bond_that_deviates():
    (broken,), (bond,) = watched(0.3), watched(0.3)
    watch([broken]).run(400)
    watch([bond], "bond").run(400)
    assert bond.times[-1] < broken.times[-1]
    assert bond.whole_for({DEVIATION}) == broken.whole_for({DEVIATION})
    assert broken.whole_for({FRAGMENTS}) == pytest.approx(broken.times[-2])
    assert broken.whole_for({"nothing"}) == broken.times[-1]


def test_atoms_nearer_than_the_shortest_distance_are_in_contact_but_not_those_of_a_hydrogen_molecule():
    hydrogen = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])
    stability = Stability(hydrogen, 0.5, 0.6, {}, shortest=0.7)
    hydrogen.positions[1, 2] = 0.65
    assert stability.events(hydrogen) == []
    two = Atoms("H2", [[0, 0, 0], [0, 0, 1.6]])
    stability = Stability(two, 5.0, 0.6, {}, shortest=0.7)
    two.positions[1, 2] = 0.65
    assert [event.kind for event in stability.events(two)] == [CONTACT]
    assert Stability(two, 5.0, 0.6, {}).events(two) == []
    two.positions[1, 2] = 0.3  # nearer than 0.6 of the sum of the covalent radii
    assert [event.kind for event in Stability(two, 5.0, 0.6, {}).events(two)] == [CONTACT]


def test_rows_say_what_happened():
    each = watched(0.0, -0.3)
    watch(each, function=collapsing).run(100)
    rows = rows_of("joint", each, "broken")
    assert [row.structure for row in rows] == [0, 1]
    unstable = rows[1]
    assert isinstance(unstable, Row)
    assert (unstable.student, unstable.seed, unstable.stable, unstable.event) == ("joint", 7, False, CONTACT)
    assert unstable.event_ps == pytest.approx(unstable.stable_ps + 0.02)
    assert unstable.event_atoms == "0 1"
    assert unstable.bonds_kept_ps <= unstable.stable_ps


def test_survival_counts_those_that_were_last_seen_alive_only_as_long_as_they_were_seen():
    times, share = survival([1.0, 2.0, 2.0, 3.0, 4.0], [True, True, False, True, False])
    np.testing.assert_allclose(times, [0, 1, 2, 3])
    np.testing.assert_allclose(share, [1, 4 / 5, 4 / 5 * 3 / 4, 4 / 5 * 3 / 4 * 1 / 2])
    times, share = survival([5.0, 5.0], [False, False])
    np.testing.assert_allclose([times, share], [[0], [1]])

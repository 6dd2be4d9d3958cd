"""Replicas in one batch move as each alone does, whatever becomes of the others."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixCartesian, FixCom
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet

from jointkd.deploy.model import load_model
from jointkd.deploy.replicas import ReplicaCalculator
from jointkd.simulation.replicas import Integration, Replica, ReplicaDynamics
from jointkd.simulation.start import thermalize
from tests.unit.deploy.test_ase import CONSERVATIVE, student_file

NVT, NVE = Integration("nvt", 0.5, 0.02), Integration("nve", 0.5)


@pytest.fixture
def model(tmp_path):
    return load_model(student_file(tmp_path, CONSERVATIVE[0]), None, "float64", None)


def replicas(count: int = 3) -> list[Replica]:
    made = []
    for number, atoms in enumerate(
        [molecule("CH3CH2OH"), bulk("NaCl", "rocksalt", a=5.6, cubic=True), molecule("H2O")]
    ):
        atoms.set_constraint(FixCom())
        rng = np.random.default_rng(number)
        thermalize(atoms, 300.0, rng)
        made.append(Replica(atoms, rng, 300.0))
    return made[:count]


def move_by_ase(model, replica: Replica, integration: Integration) -> None:
    """20 steps of one structure as ASE integrates it, with its own constraints."""
    replica.atoms.calc = ReplicaCalculator(model, [replica.atoms])
    timestep, friction = integration.timestep * units.fs, integration.friction / units.fs
    if integration.ensemble == "nve":
        dynamics = VelocityVerlet(replica.atoms, timestep)
    else:
        options = {"temperature_K": replica.temperature, "friction": friction, "fixcm": False, "rng": replica.rng}
        dynamics = Langevin(replica.atoms, timestep, **options)
    dynamics.run(20)


@pytest.mark.parametrize("integration", [NVT, NVE], ids=["nvt", "nve"])
def test_replicas_move_together_as_ase_moves_each_alone(model, integration):
    together = replicas()
    ReplicaDynamics(model, together, integration).run(20)
    for number, replica in enumerate(together):
        alone = replicas()[number]
        before = alone.atoms.positions.copy()
        move_by_ase(model, alone, integration)
        assert np.abs(alone.atoms.positions - before).max() > 1e-2
        np.testing.assert_allclose(replica.atoms.positions, alone.atoms.positions, atol=1e-9)
        np.testing.assert_allclose(replica.atoms.get_momenta(), alone.atoms.get_momenta(), atol=1e-8)


@pytest.mark.parametrize("integration", [NVT, NVE], ids=["nvt", "nve"])
def test_the_centre_of_mass_of_each_replica_rests(model, integration):
    together = replicas()
    before = [replica.atoms.get_center_of_mass() for replica in together]
    ReplicaDynamics(model, together, integration).run(20)
    for replica, centre in zip(together, before, strict=True):
        np.testing.assert_allclose(replica.atoms.get_center_of_mass(), centre, atol=1e-12)
        np.testing.assert_allclose(replica.atoms.get_momenta().sum(0), 0, atol=1e-12)


def test_frozen_atoms_and_coordinates_stay_and_their_centre_of_mass_is_free(model):
    together = replicas()
    together[1].atoms.set_constraint([FixAtoms([0, 1]), FixCartesian([3], (True, False, False))])
    before = [replica.atoms.copy() for replica in together]
    dynamics = ReplicaDynamics(model, together, NVT)
    dynamics.run(20)
    moved = [np.abs(replica.atoms.positions - old.positions) for replica, old in zip(together, before, strict=True)]
    assert (moved[1][:2] == 0).all()
    assert moved[1][3, 0] == 0 < moved[1][3, 1]
    assert (moved[1][4:] > 0).all()
    assert (moved[0] > 0).all()
    centres = [
        np.abs(now.atoms.get_center_of_mass() - old.get_center_of_mass())
        for now, old in zip(together, before, strict=True)
    ]
    assert [bool(centre.max() > 1e-6) for centre in centres] == [False, True, False]
    alone = replicas()[1]
    alone.atoms.set_constraint([FixAtoms([0, 1]), FixCartesian([3], (True, False, False))])
    move_by_ase(model, alone, NVT)
    np.testing.assert_allclose(alone.atoms.positions, together[1].atoms.positions, atol=1e-9)
    assert dynamics.joined.get_number_of_degrees_of_freedom() == 3 * (9 + 8 + 3) - 6 - 1 - 2 * 3


def test_a_replica_that_is_not_finite_leaves_the_others_alone(model):
    together, undisturbed = replicas(), replicas()
    momenta = together[0].atoms.get_momenta()
    momenta[0] = 1e300  # flies away in the first step
    together[0].atoms.set_constraint()
    together[0].atoms.set_momenta(momenta)
    dynamics = ReplicaDynamics(model, together, NVT)
    dynamics.run(10)
    ReplicaDynamics(model, undisturbed, NVT).run(10)
    assert not np.isfinite(together[0].atoms.positions).all()
    for ours, theirs in zip(together[1:], undisturbed[1:], strict=True):
        np.testing.assert_allclose(ours.atoms.positions, theirs.atoms.positions, atol=1e-12)
    dynamics.keep([False, True, True])
    dynamics.run(10)
    ReplicaDynamics(model, undisturbed[1:], NVT).run(10)
    for ours, theirs in zip(together[1:], undisturbed[1:], strict=True):
        np.testing.assert_allclose(ours.atoms.positions, theirs.atoms.positions, atol=1e-9)


def test_every_replica_has_a_temperature_of_its_own(model):
    warm, cold = (Replica(Atoms("H64", 30.0 * np.indices((4, 4, 4)).reshape(3, -1).T), np.random.default_rng(0), t)
                  for t in (600.0, 50.0))  # fmt: skip
    ReplicaDynamics(model, [warm, cold], Integration("nvt", 1.0, 0.1)).run(60)  # from rest, for six relaxation times
    assert warm.atoms.get_temperature() == pytest.approx(600, rel=0.25)
    assert cold.atoms.get_temperature() == pytest.approx(50, rel=0.25)


def test_energies_and_forces_are_those_of_each_replica(model):
    together = replicas()
    dynamics = ReplicaDynamics(model, together, NVE)
    dynamics.run(3)
    energies, forces = dynamics.potential_energies(), dynamics.forces()
    for number, replica in enumerate(together):
        alone = ReplicaDynamics(model, [replica], NVE)
        assert energies[number] == pytest.approx(alone.potential_energies()[0], abs=1e-9)
        np.testing.assert_allclose(forces[number], alone.forces()[0], atol=1e-10)

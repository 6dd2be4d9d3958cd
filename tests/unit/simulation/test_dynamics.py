"""Initial momenta and integrators of molecular dynamics, without deprecation warnings of ASE."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones

from jointkd.simulation.dynamics import SimulationOptions, integrator, thermalize


def test_momenta_have_the_requested_temperature_and_depend_on_the_seed_alone():
    atoms = bulk("Cu", cubic=True) * (10, 10, 10)
    thermalize(atoms, 300.0, np.random.default_rng(1))
    assert atoms.get_temperature() == pytest.approx(300.0, rel=0.05)
    again = atoms.copy()
    thermalize(again, 300.0, np.random.default_rng(1))
    np.testing.assert_array_equal(again.get_momenta(), atoms.get_momenta())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("ensemble", ["nvt", "nve"])
def test_integrators_use_nothing_that_ase_has_deprecated(ensemble):
    atoms = molecule("CH3OH")
    atoms.calc = LennardJones()
    atoms.calc.student = atoms.calc  # whose `conservative` is read for nve
    atoms.calc.conservative = True
    thermalize(atoms, 300.0, np.random.default_rng(0))
    options = SimulationOptions(run="", structures="", directory="", ensemble=ensemble, timestep=0.1)
    integrator(atoms, options, np.random.default_rng(0)).run(2)

"""A teacher as an ASE calculator."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError

from jointkd.teachers.ase import from_calculator
from jointkd.teachers.calculator import TeacherCalculator
from tests.calculators import Metal


def test_the_stress_of_a_teacher_is_that_of_its_energy():
    crystal = bulk("Cu", a=3.5, cubic=True)
    crystal.set_cell(crystal.cell.array @ [[1.02, 0.03, 0], [0.01, 1, -0.02], [0, 0.02, 0.97]], scale_atoms=True)
    crystal.rattle(0.1, seed=0)
    crystal.calc = TeacherCalculator(from_calculator("tests.calculators.Metal", "metal"))
    expected = Metal().get_stress(crystal)
    assert np.abs(expected).min() > 1e-3
    np.testing.assert_allclose(crystal.get_stress(), expected, rtol=1e-3)
    assert crystal.get_potential_energy() == pytest.approx(Metal().get_potential_energy(crystal))


def test_a_molecule_has_no_stress():
    atoms = molecule("H2O")
    atoms.calc = TeacherCalculator(from_calculator("tests.calculators.Springs", "springs"))
    assert np.isfinite(atoms.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError, match="there is no stress without a cell of three vectors"):
        atoms.get_stress()

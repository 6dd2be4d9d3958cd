"""A teacher as an ASE calculator."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError

from jointkd.errors import TeacherError
from jointkd.simulation.dihedrals import Dihedral
from jointkd.simulation.path_errors import sample
from jointkd.simulation.paths import turn
from jointkd.simulation.scans import energies_of
from jointkd.teachers.ase import from_calculator
from jointkd.teachers.calculator import TeacherCalculator
from tests.calculators import Metal
from tests.teachers import NumberTeacher
from tests.torsion import DIHEDRAL


def test_the_stress_of_a_teacher_is_that_of_its_energy():
    crystal = bulk("Cu", a=3.5, cubic=True)
    crystal.set_cell(crystal.cell.array @ [[1.02, 0.03, 0], [0.01, 1, -0.02], [0, 0.02, 0.97]], scale_atoms=True)
    crystal.rattle(0.1, seed=0)
    crystal.calc = TeacherCalculator(from_calculator("tests.calculators.Metal", "metal"))
    expected = Metal().get_stress(crystal)
    assert np.abs(expected).min() > 1e-3
    np.testing.assert_allclose(crystal.get_stress(), expected, rtol=1e-3)
    assert crystal.get_potential_energy() == pytest.approx(Metal().get_potential_energy(crystal))


class Charges(NumberTeacher):
    """A teacher whose energies are the charges that it is told of."""

    takes_charge = True

    def label(self, frames, directions):
        labels = super().label(frames, directions)
        return [replace(one, energy=frame.charge) for one, frame in zip(labels, frames, strict=True)]


def test_the_charge_is_that_of_the_atoms_or_of_the_structure_that_they_come_from():
    ion = molecule("H2O")
    ion.info["total_charge"] = 2
    ion.calc = TeacherCalculator(Charges())
    assert ion.get_potential_energy() == 2
    ion.calc = TeacherCalculator(Charges(), {"charge": -1})
    assert ion.get_potential_energy() == -1


def test_the_charge_reaches_the_teacher_along_paths_and_in_scans():
    ion = molecule("H2O2")
    ion.info["charge"] = 3
    teacher, way = TeacherCalculator(Charges()), turn(ion, Dihedral.of(ion, DIHEDRAL, "ion"), 4, "turn")
    assert sample(way, teacher).energies.tolist() == [3] * 4
    assert energies_of(way.structures, teacher).tolist() == [3] * 4


def test_a_teacher_that_takes_no_charge_gives_none_of_an_ion():
    ion = molecule("H2O")
    ion.info["charge"] = 1
    ion.calc = TeacherCalculator(NumberTeacher())
    with pytest.raises(TeacherError, match=r"takes no charge and no spin, but 1 of 1 structures have them"):
        ion.get_forces()


def test_a_molecule_has_no_stress():
    atoms = molecule("H2O")
    atoms.calc = TeacherCalculator(from_calculator("tests.calculators.Springs", "springs"))
    assert np.isfinite(atoms.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError, match="there is no stress without a cell of three vectors"):
        atoms.get_stress()

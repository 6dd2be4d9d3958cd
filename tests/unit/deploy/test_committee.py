"""Several students as one calculator: the mean, and the members' distance from it."""

import re

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from jointkd import load
from jointkd.deploy.ase import JointKD
from jointkd.deploy.committee import force_uncertainty
from jointkd.errors import ConfigError, DataError
from jointkd.students.student_file import SavedStudent, build, save_student
from tests.structures import ETHANOL
from tests.uncertain import with_uncertainty
from tests.unit.deploy.test_ase import CONSERVATIVE, FREE, PAINN

SALT = bulk("NaCl", "rocksalt", a=5.6)


def members(folder, configs=(CONSERVATIVE[0],) * 3, references=(FREE,) * 3):
    """Files of students with different random weights."""
    for seed, (config, energies) in enumerate(zip(configs, references, strict=True)):
        torch.manual_seed(seed)
        student = build(config, torch.float64, config["_target_"])
        for parameter in student.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        file = folder / f"student{seed}.safetensors"
        save_student(file, SavedStudent(config, student.state_dict(), energies, {}))
        yield file


@pytest.mark.parametrize("atoms", [ETHANOL, SALT], ids=["molecule", "crystal"])
def test_results_are_means_and_uncertainties_are_distances_from_them(tmp_path, atoms):
    files, atoms = list(members(tmp_path)), atoms.copy()
    atoms.rattle(0.05, seed=1)
    committee = load(files).ase(dtype="float64")
    alone = [JointKD(file, dtype="float64") for file in files]
    energies = [calculator.get_potential_energy(atoms) for calculator in alone]
    forces = np.array([calculator.get_forces(atoms) for calculator in alone])
    assert committee.get_potential_energy(atoms) == pytest.approx(np.mean(energies))
    np.testing.assert_allclose(committee.get_forces(atoms), forces.mean(0))
    assert committee.get_property("energy_uncertainty", atoms) == pytest.approx(np.std(energies))
    spread = committee.get_property("force_uncertainty", atoms)
    assert spread.shape == (len(atoms),)
    expected = [
        np.sqrt(np.mean([np.sum((force - mean) ** 2) for force in of_atom]))
        for of_atom, mean in zip(forces.transpose(1, 0, 2), forces.mean(0), strict=True)
    ]
    np.testing.assert_allclose(spread, expected)
    assert spread.min() > 1e-3
    if atoms.pbc.all():
        stresses = [calculator.get_stress(atoms) for calculator in alone]
        np.testing.assert_allclose(committee.get_stress(atoms), np.mean(stresses, axis=0))
    hessians = [calculator.get_hessian(atoms) for calculator in alone]
    np.testing.assert_allclose(committee.get_hessian(atoms), np.mean(hessians, axis=0), atol=1e-12)


def test_results_follow_atoms_that_move(tmp_path):
    atoms = ETHANOL.copy()
    atoms.calc = load(list(members(tmp_path))).ase()
    before = atoms.get_potential_energy(), atoms.calc.results["energy_uncertainty"]
    atoms.positions[0] += 0.1
    after = atoms.get_potential_energy(), atoms.calc.results["energy_uncertainty"]
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_one_member_with_a_force_head_leaves_no_stress(tmp_path):
    files = list(members(tmp_path, [CONSERVATIVE[0], PAINN, CONSERVATIVE[0]]))
    committee = load(files).ase()
    assert "stress" not in committee.implemented_properties
    assert np.isfinite(committee.get_forces(SALT)).all()
    assert "stress" not in committee.results


OTHER = {"elements": FREE | {9: -2700.0}, "reference energies": FREE | {8: -2040.1}}


@pytest.mark.parametrize("difference", OTHER)
def test_a_member_with_another_zero_of_energy_is_refused(tmp_path, difference):
    files = list(members(tmp_path, references=[FREE, FREE, OTHER[difference]]))
    message = f"{re.escape(str(files[2]))} has other {difference} than {re.escape(str(files[0]))}"
    with pytest.raises(DataError, match=message):
        load(files).ase()


def test_one_student_is_no_committee(tmp_path):
    with pytest.raises(ConfigError, match="a committee of 1 has no spread; give two or more students"):
        load(list(members(tmp_path))[:1]).ase()


def test_several_students_are_refused_where_one_is_asked_for(tmp_path):
    with pytest.raises(ConfigError, match=r"is not one student; give one path; load\(\[…\]\)\.ase\(\) takes many"):
        JointKD(list(members(tmp_path)))


def test_an_unknown_element_is_refused_as_by_one_student(tmp_path):
    with pytest.raises(DataError, match="the student was not trained on Si"):
        load(list(members(tmp_path))).ase().get_potential_energy(Atoms("Si"))


def test_the_uncertainty_of_the_members_together_takes_the_place_of_their_own(tmp_path):
    files = []
    for number, file in enumerate(members(tmp_path)):
        files.append(with_uncertainty(file, scale=1.0 + number))
        assert "force_uncertainty" in JointKD(file, dtype="float64").implemented_properties
    committee = load(files).ase(dtype="float64")
    assert committee.implemented_properties.count("force_uncertainty") == 1
    forces = [JointKD(file, dtype="float64").get_forces(ETHANOL.copy()) for file in files]
    found = committee.get_property("force_uncertainty", ETHANOL.copy())
    np.testing.assert_allclose(found, force_uncertainty(np.stack(forces)))

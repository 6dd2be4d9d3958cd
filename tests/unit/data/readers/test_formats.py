"""A structure comes with the reason why it is unfit to learn from, and a file by the name that it has."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from jointkd.data.readers.extxyz import read, value
from jointkd.data.readers.formats import NOT_CONVERGED, SHARED_SITE, structures
from jointkd.errors import DataError
from tests.files import molecules, saved

CIF = """data_test
_cell_length_a 4.2
_cell_length_b 4.2
_cell_length_c 4.2
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""


@pytest.mark.parametrize(
    ("sites", "fault"),
    [
        ("Na1 Na 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 1\n", ""),
        ("Na1 Na 0 0 0 0.6\nK1 K 0 0 0 0.4\nCl1 Cl 0.5 0.5 0.5 1\n", SHARED_SITE),
        ("Na1 Na 0 0 0 0.6\nCl1 Cl 0.5 0.5 0.5 1\n", SHARED_SITE),
    ],
)
def test_a_crystal_with_a_shared_or_partly_occupied_site_is_unfit(tmp_path, sites, fault):
    (tmp_path / "a.cif").write_text(CIF + sites)
    assert [reason for _, reason in structures(tmp_path / "a.cif", None)] == [fault]
    (frame,) = read(str(tmp_path / "a.cif"), None, None)[0]
    assert frame.fault == fault


def test_a_structure_that_did_not_converge_is_unfit(tmp_path):
    some = molecules(3)
    some[0].info["converged"], some[1].info["scf_converged"], some[2].info["is_converged"] = True, False, 0.5
    path = saved(tmp_path / "a.xyz", some)
    assert [reason for _, reason in structures(path, None)] == ["", NOT_CONVERGED, ""]


@pytest.mark.parametrize("name", ["water@300K.xyz", "water@300K.traj", "a@1.xyz.gz", "-.traj", "%s.traj"])
def test_a_file_is_read_whose_name_means_something_else_to_ase(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    two = [bulk("Cu"), bulk("Ag")]
    write("plain.traj", two) if ".traj" in name else write(name, two, format="extxyz")
    if ".traj" in name:
        (tmp_path / "plain.traj").rename(tmp_path / name)
    assert [frame.numbers[0] for frame in read(name, None, None)[0]] == [29, 47]


def test_complex_labels_are_refused():
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])
    atoms.arrays["F"] = np.ones((2, 3)) + 1j
    with pytest.raises(DataError, match=r"a frame must have forces of shape \[2, 3\] under data.forces_key=F"):
        value(atoms, "F", "forces", (2, 3), "a frame")


def test_entries_that_are_not_used_are_counted_in_the_log(tmp_path, caplog):
    some = molecules(3)
    for atoms in some[1:]:
        atoms.arrays["masses"] = np.full(len(atoms), 2.0)
    with caplog.at_level("INFO"):
        list(read(str(saved(tmp_path / "a.xyz", some)), "REF_energy", "REF_forces")[0])
    assert "not used, with the number of structures that have them: masses (2)" in caplog.text

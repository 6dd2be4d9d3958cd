"""LAMMPS numbers its atom types: elements and energies are not made up for them, and its units are compared."""

import pytest

from jointkd.data.readers.extxyz import read
from jointkd.errors import DataError

DUMP = """{units}ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0 10
0 10
0 10
ITEM: ATOMS id type {columns} x y z fx fy fz
1 1 {first} 0 0 0 0 0 1
2 2 {second} 0 0 1 0 0 -1
"""


def dump(path, columns="", first="", second="", units=""):
    path.write_text(DUMP.format(columns=columns, first=first, second=second, units=units))
    return str(path)


def test_a_dump_with_elements_is_read_and_one_with_types_alone_is_refused(tmp_path):
    named = dump(tmp_path / "a.lammpstrj", "element", "O", "H")
    (frame,) = read(named, None, "forces", format="lammps-dump-text")[0]
    assert frame.numbers.tolist() == [8, 1]
    plain = dump(tmp_path / "b.lammpstrj")
    with pytest.raises(
        DataError, match=r"has atom types of LAMMPS and does not say which elements they are; .*dump_modify"
    ):
        list(read(plain, None, "forces", format="lammps-dump-text")[0])


def test_the_energy_of_zero_that_ase_adds_to_a_dump_is_not_taken(tmp_path):
    named = dump(tmp_path / "a.lammpstrj", "element", "O", "H")
    with pytest.raises(DataError, match=r"has no energy under data.energy_key=energy"):
        list(read(named, format="lammps-dump-text")[0])


def test_the_units_of_a_dump_are_compared_with_the_options(tmp_path):
    path = dump(tmp_path / "a.lammpstrj", "element", "O", "H", units="ITEM: UNITS\nreal\n")
    with pytest.raises(DataError, match=r"states units=real, and data.units.energy=eV; set data.units.energy=kcal/mol"):
        list(read(path, None, "forces", format="lammps-dump-text")[0])


def test_a_data_file_without_masses_is_refused(tmp_path):
    path = tmp_path / "a.data"
    text = "x\n\n1 atoms\n1 atom types\n0 5 xlo xhi\n0 5 ylo yhi\n0 5 zlo zhi\n\n{}Atoms # atomic\n\n1 1 0 0 0\n"
    path.write_text(text.format("Masses\n\n1 15.999\n\n"))
    (frame,) = read(str(path), None, None, format="lammps-data")[0]
    assert frame.numbers.tolist() == [8]
    path.write_text(text.format(""))
    with pytest.raises(DataError, match=r"does not say which elements they are; add the section Masses"):
        list(read(str(path), None, None, format="lammps-data")[0])

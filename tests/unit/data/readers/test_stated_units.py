"""A unit that a file states must be the one of the options."""

import pytest

from jointkd.data.readers.extxyz import read
from jointkd.data.readers.stated_units import statements
from jointkd.errors import DataError
from tests.files import molecules, saved


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("energy_unit", "Hartree", [("energy", "hartree")]),
        ("units", "eV, Angstrom", [("energy", "eV"), ("length", "angstrom")]),
        ("units", "kcal/mol/A", [("energy", "kcal/mol"), ("length", "angstrom")]),
        ("forces_units", "hartree/bohr", [("energy", "hartree"), ("length", "bohr")]),
        ("REF_energy_units", "kJ/mol", [("energy", "kJ/mol")]),
        ("positions unit", "nm", [("length", "nm")]),
        ("dipole_units", "e bohr", []),
        ("formation_energy_units", "hartree", []),
        ("units", 3, []),
        ("community", "real", []),
    ],
)
def test_statements_are_understood(name, text, expected):
    assert list(statements(name, text, ("REF_energy", "REF_forces"))) == expected


def test_a_statement_that_contradicts_the_options_is_refused_with_the_option(tmp_path):
    some = molecules(2)
    some[1].info["energy_unit"] = "hartree"
    path = str(saved(tmp_path / "a.xyz", some))
    with pytest.raises(DataError, match=r"a.xyz frame 1 states energy_unit=hartree, and data.units.energy=eV; set"):
        list(read(path, "REF_energy", "REF_forces")[0])
    for atoms in some:
        atoms.info["energy_unit"] = "hartree"
    path = str(saved(tmp_path / "b.xyz", some))
    assert len(list(read(path, "REF_energy", "REF_forces", {"energy": "hartree"})[0])) == 2

"""Dihedrals by SMARTS patterns: which atoms they are, and what is refused. Needs RDKit, of the extra `smarts`."""

import re

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from jointkd.errors import ConfigError, DataError
from jointkd.simulation.smarts import find_dihedral

pytest.importorskip("rdkit")

ETHANOL = molecule("CH3CH2OH")  # C0–C1–O2–H3; H6, H7 and H8 at C0, H4 and H5 at C1
PEROXIDE = molecule("H2O2")  # O0–O1, H2 at O0 and H3 at O1
NITRO = molecule("CH3NO2")


def four(smarts: str, structure: Atoms = ETHANOL, charge: int = 0) -> list[int]:
    return list(find_dihedral(structure, smarts, charge, "start.xyz"))


def test_a_pattern_of_four_atoms_gives_them_in_its_order(caplog):
    caplog.set_level("INFO")
    assert four("[CX4][CX4]-[OX2][#1]") == [0, 1, 2, 3]
    assert four("[#1][OX2]CC") == [3, 2, 1, 0]
    assert caplog.messages[0] == "dihedral=[CX4][CX4]-[OX2][#1] of start.xyz, CCO, is C0-C1-O2-H3 [0, 1, 2, 3]"


def test_mapped_atoms_of_a_larger_pattern_are_taken_in_the_order_of_their_numbers():
    assert four("[#1:4][O:3][CX4:2]([#1])[CX4:1]") == [0, 1, 2, 3]


def test_of_several_matches_about_one_bond_the_first_is_taken_and_all_are_named(caplog):
    caplog.set_level("INFO")
    assert four("[#1][CX4][CX4][OX2]") == [6, 0, 1, 2]
    assert caplog.text.rstrip().endswith(
        "is H6-C0-C1-O2 [6, 0, 1, 2]; about the same bond are H7-C0-C1-O2 [7, 0, 1, 2], H8-C0-C1-O2 [8, 0, 1, 2]"
    )


def test_a_pattern_that_reads_the_same_from_both_ends_is_one_dihedral(caplog):
    caplog.set_level("INFO")
    assert four("[#1]OO[#1]", PEROXIDE) == [2, 0, 1, 3]
    assert "about the same bond" not in caplog.text


def test_matches_about_several_bonds_are_listed_and_refused():
    ether = molecule("CH3OCH3")
    with pytest.raises(ConfigError, match=r"start\.xyz, COC, has such atoms about several bonds: ") as error:
        four("[#1]COC", ether)
    assert len(re.findall(r"H\d-C\d-O\d-C\d \[", str(error.value))) == 6
    assert str(error.value).endswith("; choose one, as dihedral=[i,j,k,l], or narrow the pattern")


def test_mapped_atoms_about_several_bonds_are_refused_where_the_whole_pattern_has_the_same_atoms():
    with pytest.raises(ConfigError, match="about several bonds"):
        four("[#1:1][C:2][O:3][C:4][#1]", molecule("CH3OCH3"))


def test_bond_orders_follow_from_the_charge():
    anion = ETHANOL[[atom for atom in range(9) if atom != 3]]
    assert four("[#1]CC[O-]", anion, -1)[1:] == [0, 1, 2]
    with pytest.raises(DataError, match=r"orders for start\.xyz with a total charge of 0 .*charge=… in the file"):
        four("[#1]CC[O-]", anion)
    carbon, nitrogen = np.flatnonzero(NITRO.numbers == 6)[0], np.flatnonzero(NITRO.numbers == 7)[0]
    assert four("[#1]C[N+]=O", NITRO)[1:3] == [carbon, nitrogen]


@pytest.mark.parametrize(
    ("smarts", "line"),
    [
        ("[C", r"dihedral=\[C is not a SMARTS pattern; give one such as"),
        ("", "dihedral= is not a SMARTS pattern"),
        ("CCO", "dihedral=CCO has 3 atoms; give one of four atoms, or map four"),
        ("[C:1][C:2][O:3][#1]", "must map each of :1, :2, :3 and :4 once"),
        ("[C:1][C:2][O:3][#1:3]", "must map each of :1, :2, :3 and :4 once"),
        ("NCCO", r"dihedral=NCCO: start\.xyz, CCO, has no such atoms; change the pattern, or give four atoms"),
    ],
)
def test_patterns_that_give_no_dihedral_are_refused(smarts, line, capfd):
    with pytest.raises(ConfigError, match=line):
        four(smarts)
    assert capfd.readouterr() == ("", "")  # RDKit's own lines


def test_periodic_structures_are_refused():
    with pytest.raises(DataError, match="is periodic"):
        four("CCCC", bulk("C"))

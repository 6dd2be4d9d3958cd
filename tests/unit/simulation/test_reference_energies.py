"""Reference energies along a dihedral, and the slices of 3BPA in the format of its published file."""

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from jointkd.errors import DataError
from jointkd.simulation.dihedrals import Dihedral
from jointkd.simulation.reference_energies import read_slices, reference_energies
from tests.torsion import DIHEDRAL, PEROXIDE, at_angle

ANGLES = np.array([0.0, 90.0, 180.0, 270.0])
TURNED = Dihedral.of(PEROXIDE, DIHEDRAL, "peroxide")
PUBLISHED = ((71.0, 120.0), (67.0, 150.0), (151.0, 180.0))  # α and β


def labelled(angle: float, energy: float, **info):
    atoms = at_angle(angle)
    atoms.calc = SinglePointCalculator(atoms, energy=energy)
    atoms.info.update(info)
    return atoms


def slices(path, planes=PUBLISHED, order=None):
    """A file in the format of test_dih.xyz: energies (eV), and α, β and γ (degrees) under `dihedrals`."""
    gammas = np.arange(0.0, 360.0, 30.0)
    frames = [
        labelled(gamma, -100 + number + 0.1 * np.cos(np.radians(gamma)), dihedrals=np.array([*plane, gamma]))
        for number, plane in enumerate(planes)
        for gamma in gammas
    ]
    write(path, [frames[place] for place in (order if order is not None else range(len(frames)))], format="extxyz")
    return gammas


def test_energies_of_a_table_are_taken_by_their_angles_in_any_order(tmp_path):
    (tmp_path / "dft.csv").write_text("angle_deg,energy_eV\n-90,4\n180.1,3\n360,1\n90,2\n")
    found = reference_energies(str(tmp_path / "dft.csv"), ANGLES, TURNED, "energy")
    assert found.tolist() == [1, 2, 3, 4]


def test_energies_of_structures_are_taken_by_their_measured_dihedral(tmp_path):
    write(tmp_path / "dft.xyz", [labelled(angle, angle / 100) for angle in ANGLES[::-1]], format="extxyz")
    found = reference_energies(str(tmp_path / "dft.xyz"), ANGLES, TURNED, "energy")
    np.testing.assert_allclose(found, ANGLES / 100)
    with pytest.raises(DataError, match=r"has no energy under energy_key=dft \(it has energy"):
        reference_energies(str(tmp_path / "dft.xyz"), ANGLES, TURNED, "dft")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("angle_deg,energy_eV\n0,1\n90,2\n180,3\n", "has no energy within 0.5 degrees of 270"),
        ("angle_deg,energy_eV\n0,1\n90,2\n180,3\n270,4\n360,5\n", "has 2 energies within 0.5 degrees of 0"),
        ("angle,energy\n0,1\n", "give the columns angle_deg and energy_eV"),
        ("angle_deg,energy_eV\n0,low\n", "cannot be read"),
        ("", "has no energy within"),
    ],
)
def test_a_table_that_does_not_fit_the_scan_is_refused(tmp_path, text, message):
    (tmp_path / "dft.csv").write_text(text)
    with pytest.raises(DataError) as error:
        reference_energies(str(tmp_path / "dft.csv"), ANGLES, TURNED, "energy")
    assert message in str(error.value)


def test_slices_are_told_apart_by_alpha_and_beta_and_follow_gamma(tmp_path):
    order = np.random.default_rng(0).permutation(3 * 12)
    gammas = slices(tmp_path / "test_dih.xyz", order=order)
    found = read_slices(str(tmp_path / "test_dih.xyz"), PUBLISHED, "energy")
    assert [each.title for each in found] == ["α = 71°, β = 120°", "α = 67°, β = 150°", "α = 151°, β = 180°"]
    for number, each in enumerate(found):
        np.testing.assert_allclose(each.gammas, gammas)
        np.testing.assert_allclose(each.energies, -100 + number + 0.1 * np.cos(np.radians(gammas)))
        assert [TURNED.angle(atoms) for atoms in each.structures[1:]] == pytest.approx(gammas[1:].tolist(), abs=1e-4)


def test_a_plane_that_is_not_in_the_file_is_refused_with_those_that_are(tmp_path):
    slices(tmp_path / "test_dih.xyz", PUBLISHED[:2])
    with pytest.raises(DataError, match=r"0 structures with α = 151 and β = 180.*\[67,150\], \[71,120\]"):
        read_slices(str(tmp_path / "test_dih.xyz"), PUBLISHED, "energy")


def test_structures_without_three_angles_and_angles_that_occur_twice_are_refused(tmp_path):
    write(tmp_path / "other.xyz", labelled(0.0, 1.0), format="extxyz")
    with pytest.raises(DataError, match=r"structure 0 of slices=.*other.xyz has no three angles under dihedrals"):
        read_slices(str(tmp_path / "other.xyz"), PUBLISHED, "energy")
    slices(tmp_path / "twice.xyz", [PUBLISHED[0], PUBLISHED[0]])
    with pytest.raises(DataError, match="has one γ twice at α = 71, β = 120"):
        read_slices(str(tmp_path / "twice.xyz"), PUBLISHED[:1], "energy")


def test_the_published_training_file_of_3bpa_has_the_angles_that_slices_need(shared_data):
    from jointkd.simulation.reference_energies import dihedrals_of, read_structures

    for atoms in read_structures(str(shared_data / "3bpa" / "train_300K.xyz"), "slices")[:20]:
        measured = [atoms.get_dihedral(*four) for four in ((4, 1, 5, 13), (1, 5, 13, 14), (5, 13, 14, 18))]
        np.testing.assert_allclose(dihedrals_of(atoms, "it"), measured, atol=0.01)

"""Rigid and relaxed scans with a known torsion potential."""

import numpy as np
import pytest

from jointkd.errors import ConfigError
from jointkd.evaluation.profiles import Curves
from jointkd.simulation.dihedrals import Dihedral
from jointkd.simulation.scans import ScanOptions, energies_of, scan
from tests.torsion import DIHEDRAL, PEROXIDE, Torsion, at_angle

TURNED = Dihedral.of(PEROXIDE, DIHEDRAL, "peroxide")


def test_a_rigid_scan_has_the_barriers_extrema_and_errors_of_the_potential():
    calculators = {"student": Torsion((0.20, 2, 0.0), constant=5.0), "teacher": Torsion((0.30, 2, 20.0))}
    options = ScanOptions(steps=36)
    scans = scan(PEROXIDE, TURNED, options, calculators)
    found = Curves("", options.angles, {name: each.energies for name, each in scans.items()}).compare(["teacher"])
    assert [each["angle_deg"] for each in found["student"]["maxima"]] == pytest.approx([0, 180], abs=1e-6)
    assert [each["angle_deg"] for each in found["teacher"]["minima"]] == pytest.approx([100, 280], abs=1e-6)
    assert found["student"]["barrier_meV"] == pytest.approx(200)
    assert found["student"]["to_teacher"]["barrier_meV"] == pytest.approx(-100)
    assert found["student"]["to_teacher"]["minimum_angle_deg"] == pytest.approx(-10)
    difference = abs(0.10 - 0.15 * np.exp(-1j * np.radians(20)))  # the amplitude of a cosine
    assert found["student"]["to_teacher"]["rmse_meV"] == pytest.approx(1e3 * difference / np.sqrt(2))
    for angle, atoms in zip(options.angles, scans["student"].structures, strict=True):
        assert TURNED.angle(atoms) == pytest.approx(angle, abs=1e-6)
        assert atoms.calc is None


@pytest.mark.parametrize("minimizer", ["bfgs", "fire"])
def test_a_relaxed_scan_keeps_the_dihedral_and_lowers_the_energy(minimizer):
    calculators = {"student": Torsion((0.30, 1, 0.0), stretch=0.05)}
    rigid = scan(PEROXIDE, TURNED, ScanOptions(steps=4), calculators)["student"]
    options = ScanOptions(steps=4, relax=True, minimizer=minimizer, fmax=0.005, max_steps=300)
    relaxed = scan(PEROXIDE, TURNED, options, calculators)["student"]
    assert np.isfinite(relaxed.energies).all()
    assert (relaxed.energies < rigid.energies + 1e-6).all()
    assert (rigid.energies - relaxed.energies).max() > 0.01
    torsion = 0.15 * (1 + np.cos(np.radians(options.angles)))  # what is left once the springs have their lengths
    np.testing.assert_allclose(relaxed.energies, torsion, atol=2e-3)
    for angle, atoms in zip(options.angles, relaxed.structures, strict=True):
        assert abs((TURNED.angle(atoms) - angle + 180) % 360 - 180) < 0.01
        assert not atoms.constraints


def test_an_angle_at_which_a_relaxation_does_not_converge_has_no_energy(caplog):
    options = ScanOptions(steps=4, relax=True, max_steps=1, fmax=1e-9)
    found = scan(PEROXIDE, TURNED, options, {"student": Torsion((0.3, 1, 0.0), stretch=0.05)})["student"]
    assert np.isnan(found.energies).tolist() == [True, False, True, False]  # at 90° the springs are at rest
    assert "student: at 2 of 4 angles the structure was not relaxed to fmax=1e-09 eV/Å in 1 steps" in caplog.text


def test_energies_of_structures_are_those_of_the_calculator():
    structures = [at_angle(0.0), at_angle(90.0)]
    low, high = energies_of(structures, Torsion((0.4, 1, 180.0)))
    assert (low, high) == pytest.approx((0.0, 0.2), abs=1e-9)
    assert structures[0].calc is None


@pytest.mark.parametrize(
    "options", [{"steps": 3}, {"steps": 8.5}, {"fmax": 0.0}, {"fmax": -1}, {"max_steps": 0}, {"minimizer": "newton"}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        ScanOptions(**options)

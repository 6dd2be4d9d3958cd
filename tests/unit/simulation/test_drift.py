"""How the total energy drifts in dynamics without a thermostat."""

import pytest

from jointkd.deploy.ase import JointKD
from jointkd.simulation.drift import energy_drift
from tests.structures import ETHANOL
from tests.unit.deploy.test_ase import CONSERVATIVE, PAINN, student_file


@pytest.mark.parametrize(("config", "drifts"), [(CONSERVATIVE[0], False), (PAINN, True)])
def test_the_energy_of_a_student_drifts_where_forces_are_not_its_gradient(tmp_path, config, drifts):
    atoms = ETHANOL.copy()
    atoms.calc = JointKD(student_file(tmp_path, config), dtype="float64")
    drift = energy_drift(atoms, steps=60)
    assert (abs(drift.rate) > 100) == drifts
    assert (drift.time, drift.temperature, drift.structure) == (pytest.approx(0.03), 300.0, "C2H6O")


def test_the_drift_is_the_slope_of_the_energy_per_atom(tmp_path, monkeypatch):
    atoms = ETHANOL.copy()
    atoms.calc = JointKD(student_file(tmp_path, CONSERVATIVE[0]))
    energies = iter(range(100))
    monkeypatch.setattr(type(atoms), "get_total_energy", lambda self: 0.009 * next(energies))
    assert energy_drift(atoms, steps=10).rate == pytest.approx(9 / len(atoms) / 0.0005)

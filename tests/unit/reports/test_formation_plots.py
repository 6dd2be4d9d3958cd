"""Errors of formation energies in reports: which zero they have, and what is said of it."""

import json

import numpy as np
import pytest

from jointkd.errors import ConfigError
from jointkd.reports.formation_plots import formation
from jointkd.reports.runs import read_runs
from tests.unit.reports.test_tables import run

NAMES = "formula,atoms,energy_eV,predicted_energy_eV,zero_eV,force_mae_meV_per_A\n"


def recorded(folder, method, phase):
    """Write a run with a NaCl and a Cl2, whose predicted energies are 0.2 eV and 0.4 eV too high.

    phase: whether the training data have chlorine, whose predicted energy is then 0.2 eV per atom too high, too.
    """
    reference = "reference energy, not a structure"
    elements = {
        "Na": {"energy": -1.0, "predicted": -1.0, "origin": reference},
        "Cl": {"energy": -2.0, "predicted": -1.8 if phase else -2.0, "origin": "Cl2.xyz" if phase else reference},
    }
    run(folder, method, 1.0, elements=elements)
    (folder / "test.csv").write_text(NAMES + "NaCl,2,-7,-6.8,-3,0\nCl2,2,-4,-3.6,-4,0\n")


def errors(folder):
    lines = (folder / "formation.csv").read_text().splitlines()[1:]
    return [float(line.split(",")[1]) for line in lines]


def test_an_error_of_the_reference_phase_is_not_one_of_formation_energies(tmp_path):
    recorded(tmp_path / "a", "joint", phase=True)
    figure = formation(tmp_path, read_runs(tmp_path))
    assert figure is not None
    np.testing.assert_allclose(errors(tmp_path), [0, 0], atol=1e-9)
    assert "Cl (Cl2.xyz)" in figure.caption
    assert (tmp_path / "formation.png").stat().st_size > 1000


def test_without_structures_of_one_element_the_error_is_that_of_the_total_energy(tmp_path):
    recorded(tmp_path / "a", "joint", phase=False)
    figure = formation(tmp_path, read_runs(tmp_path))
    assert figure is not None
    np.testing.assert_allclose(errors(tmp_path), [100, 200])
    assert "the error is that of the total energy" in figure.caption
    assert figure.table is not None
    assert figure.table.rows[0][:2] == ["joint", "150"]


def test_given_energies_are_those_of_reference_and_prediction(tmp_path):
    recorded(tmp_path / "a", "joint", phase=True)
    figure = formation(tmp_path, read_runs(tmp_path), {"Na": -1.1, "Cl": -2.2})
    assert figure is not None
    np.testing.assert_allclose(errors(tmp_path), [100, 200])
    assert "those given" in figure.caption


def test_given_energies_that_lack_an_element_are_refused(tmp_path):
    recorded(tmp_path / "a", "joint", phase=True)
    with pytest.raises(ConfigError, match="elements has no energy of Na, which test structures contain"):
        formation(tmp_path, read_runs(tmp_path), {"Cl": -2.2})


def test_runs_of_earlier_versions_without_records_have_no_such_plot(tmp_path):
    run(tmp_path / "a", "joint", 1.0)
    assert formation(tmp_path, read_runs(tmp_path)) is None
    assert json.loads((tmp_path / "a" / "summary.json").read_text())["method"] == "joint"

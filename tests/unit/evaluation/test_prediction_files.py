"""Files of predictions, as ASE and a table reader find them."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from ase.io import read

from jointkd.data.screening import Rejected
from jointkd.errors import ConfigError
from jointkd.evaluation.prediction_files import check_output, csv_file, extxyz_file
from jointkd.evaluation.predictions import Predicted
from tests.files import frames
from tests.structures import SALT


def outcomes() -> list[Predicted | Rejected]:
    water, methanol = frames(2)
    water = replace(water, info={"config_type": "a cluster", "dft_energy": 3.0, "jointkd_energy": 7.0})
    bare = replace(methanol, energy=None, forces=None, cell=SALT.cell.array, pbc=np.ones(3, bool))
    return [
        Predicted(water, water.energy + 0.3, np.array([0.1, 0.2, water.energy]), water.forces + 0.1),
        Rejected(methanol, "it is charged"),
        Predicted(bare, 1.5, np.full(len(bare), 0.25), np.ones((len(bare), 3))),
    ]


def test_structures_are_read_back_with_labels_predictions_and_what_the_file_said(tmp_path):
    water, _, bare = outcomes()
    with extxyz_file(tmp_path / "pred.xyz") as add:
        for outcome in outcomes():
            add(outcome)
    first, second = read(tmp_path / "pred.xyz", index=":")
    assert first.info["jointkd_energy"] == pytest.approx(water.energy)
    assert first.info["reference_energy"] == pytest.approx(water.frame.energy)
    assert (first.info["config_type"], first.info["dft_energy"]) == ("a cluster", 3.0)
    np.testing.assert_allclose(first.arrays["jointkd_forces"], water.forces, atol=1e-8)
    np.testing.assert_allclose(first.arrays["reference_forces"], water.frame.forces, atol=1e-8)
    np.testing.assert_allclose(first.arrays["jointkd_energies"], water.energies, atol=1e-8)
    np.testing.assert_allclose(second.positions, bare.frame.positions, atol=1e-8)
    np.testing.assert_allclose(second.cell.array, bare.frame.cell, atol=1e-8)
    assert second.pbc.all()
    assert "reference_energy" not in second.info
    assert "reference_forces" not in second.arrays


def test_the_table_has_a_line_for_every_structure_with_what_is_known(tmp_path):
    water = outcomes()[0]
    with csv_file(tmp_path / "pred.csv") as add:
        for outcome in outcomes():
            add(outcome)
    first, second, third = csv.DictReader((tmp_path / "pred.csv").open())
    assert (first["source"], first["formula"], first["atoms"], first["group"]) == ("frame 0", "H2O", "3", "H2O")
    assert first["config_type"] == "a cluster"
    assert float(first["predicted_energy_eV"]) == pytest.approx(water.energy)
    assert float(first["energy_error_meV_per_atom"]) == pytest.approx(100)
    assert float(first["force_mae_meV_per_A"]) == float(first["force_rmse_meV_per_A"]) == pytest.approx(100)
    assert (second["set_aside"], second["predicted_energy_eV"]) == ("it is charged", "")
    assert (third["predicted_energy_eV"], third["energy_eV"], third["force_mae_meV_per_A"]) == ("1.5", "", "")


def test_a_file_that_is_not_completed_leaves_nothing(tmp_path):
    with pytest.raises(AttributeError), csv_file(tmp_path / "pred.csv") as add:
        add("no outcome")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["pred.txt", "pred", "there.csv", "no/pred.csv"])
def test_an_output_that_cannot_be_written_is_refused(tmp_path, name):
    (tmp_path / "there.csv").write_text("mine")
    reason = {"there.csv": "exists and is not replaced", "no/pred.csv": "there is no folder"}
    with pytest.raises(ConfigError, match=reason.get(name, r"must end with \.xyz or \.extxyz or \.csv")):
        check_output(tmp_path / name)

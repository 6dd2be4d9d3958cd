"""The record of the test structures: it agrees with the metrics of the test, whatever the batches."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from matplotlib import image

from jointkd.evaluation.density import load_densities
from jointkd.reports.structures import TestedStructures
from jointkd.structures.frame import Frame
from jointkd.students.derivatives import predict
from jointkd.training.callbacks.prediction_record import PredictionRecord
from jointkd.training.element_energies import element_energies
from tests.structures import batch_of
from tests.toy import FREE, toy_data, toy_module, toy_trainer


@pytest.fixture
def recorded(tmp_path):
    """Data, module, and the metrics of a test whose record lies in the folder."""
    data, module, record = toy_data(tmp_path, batch_size=3), toy_module(), PredictionRecord()
    module.set_references(data.references.energies)
    trainer = toy_trainer(tmp_path, 1, record)
    (metrics,) = trainer.test(module, datamodule=data, verbose=False)
    record.write(tmp_path)
    return data, module, metrics


def test_the_means_of_the_recorded_structures_are_the_metrics_of_the_test(tmp_path, recorded):
    data, _, metrics = recorded
    tested = TestedStructures.read(tmp_path)
    assert tested is not None
    for name, (values, weights) in tested.errors().items():
        assert (values * weights).sum() / weights.sum() == pytest.approx(metrics[f"test/{name}"], rel=1e-6)
    frames = data.frames["test"]
    np.testing.assert_allclose(tested.energies, [frame.energy for frame in frames], rtol=1e-9)
    assert tested.atoms.tolist() == [len(frame) for frame in frames]
    zeros = [sum(FREE[z] for z in frame.numbers.tolist()) for frame in frames]
    np.testing.assert_allclose(tested.zeros, zeros, rtol=1e-9)


def test_the_densities_count_every_force_component_and_every_entry_of_the_teachers_rows(tmp_path, recorded):
    data, *_ = recorded
    densities = load_densities(tmp_path / "parity.npz")
    components = 3 * sum(map(len, data.frames["test"]))
    rows_of_each = 1
    assert densities["forces"][1].sum() == components
    assert densities["hessian"][1].sum() == rows_of_each * components


@pytest.mark.usefixtures("recorded")
def test_the_picture_has_panels_of_energies_forces_and_rows(tmp_path):
    picture = image.imread(tmp_path / "test.png")
    height, width, _ = picture.shape
    assert 3 < width / height < 4
    assert all(np.ptp(panel) > 0.5 for panel in np.array_split(picture, 3, axis=1))


def test_an_element_has_the_energies_of_its_phase_in_the_data_and_as_the_student_predicts_it(recorded):
    data, module, _ = recorded
    atoms = molecule("O2")
    phase = Frame(atoms.numbers.astype(np.int64), atoms.positions, energy=-4090.0, forces=np.zeros((2, 3)), source="O2")
    data.frames["train"] = [*data.frames["train"], phase]
    energies = element_energies(module, data)
    relative = predict(module.student, batch_of(atoms)).atomic_energies.sum().item()
    assert energies["O"] == {
        "energy": -2045.0,
        "predicted": pytest.approx(FREE[8] + relative / 2, abs=1e-9),
        "origin": "O2",
    }
    others = {symbol: each for symbol, each in energies.items() if symbol != "O"}
    assert {symbol: each["energy"] for symbol, each in others.items()} == {"H": -13, "C": -1030, "N": -1486}
    assert all(each["predicted"] == each["energy"] for each in others.values())


def test_predictions_that_are_no_numbers_do_not_end_the_record(tmp_path):
    record, forces = PredictionRecord(), np.full((1, 3), np.nan)
    batch = batch_of(Atoms("H"))
    values = {"energies": torch.tensor([np.nan]), "forces": torch.tensor(forces), "hessian_rows": None}
    batch = replace(batch, energy=torch.zeros(1), forces=torch.zeros(1, 3))
    record.on_test_batch_end(None, toy_module(), values, batch)  # type: ignore[arg-type]
    assert len(record.structures) == 1
    assert not record.parity.forces.counts.any()

"""Reference energies that fit the student, before its errors are measured."""

import numpy as np
import pytest
import torch

from jointkd.students.derivatives import predict
from jointkd.training.callbacks.ema import EMAWeightAveraging
from jointkd.training.callbacks.reference_fit import ReferenceFit, least_absolute
from tests.toy import toy_data, toy_module, toy_trainer


def validated(path, module, *others, **options):
    """The data and the metrics of a validation after an epoch of training."""
    data = toy_data(path, **options)
    module.set_references(data.references.energies)
    trainer = toy_trainer(path, 1, *others, ReferenceFit())
    trainer.fit(module, datamodule=data)
    return data, {name: float(value) for name, value in trainer.callback_metrics.items()}


def errors_of_training(module, data):
    """[M] eV per atom, and [M, elements] shares of the atoms."""
    errors, shares = [], []
    for frame, batch in zip(data.frames["train"], single(data), strict=True):
        total = predict(module.student, batch).atomic_energies.sum().item()
        total += module.reference_energies[torch.from_numpy(frame.numbers).long()].sum().item()
        errors.append((total - frame.energy) / len(frame))
        shares.append([(frame.numbers == z).mean() for z in data.references.energies])
    return np.array(errors), np.array(shares)


def single(data):
    frames = data.frames["train"]
    return (next(data.batches(frames[number : number + 1], 1)) for number in range(len(frames)))


@pytest.mark.parametrize("others", [(), (EMAWeightAveraging(0.5),)], ids=["", "averaged weights"])
def test_no_other_energies_by_element_leave_smaller_errors_of_training(tmp_path, others):
    module = toy_module()
    data, _ = validated(tmp_path, module, *others, reference_energies="fit")
    errors, shares = errors_of_training(module, data)
    least = np.abs(errors).mean()
    for step in np.random.default_rng(0).normal(scale=0.3 * least, size=(50, shares.shape[1])):
        assert np.abs(errors + shares @ step).mean() > 0.98 * least


def test_outliers_do_not_move_the_fit():
    shares = np.random.default_rng(1).dirichlet([1, 1, 1], size=40)
    excess = shares @ [0.1, -0.2, 0.3]
    excess[:5] += 10.0
    assert list(least_absolute(shares, excess, [1, 6, 8]).values()) == pytest.approx([0.1, -0.2, 0.3], abs=1e-3)


def test_errors_are_measured_with_them(tmp_path):
    module = toy_module()
    data, metrics = validated(tmp_path, module, reference_energies="fit")
    errors = []
    for frame in data.frames["val"]:
        batch = next(data.batches([frame], 1))
        total = predict(module.student, batch).atomic_energies.sum().item()
        total += module.reference_energies[torch.from_numpy(frame.numbers).long()].sum().item()
        errors.append(abs(total - frame.energy) / len(frame))
    assert metrics["val/energy_mae_meV_per_atom"] == pytest.approx(1e3 * np.mean(errors), rel=1e-6)


def test_energies_of_free_atoms_stay_what_they_are(tmp_path):
    module = toy_module()
    validated(tmp_path, module)
    assert torch.equal(module.reference_energies, module.data_references)


def test_training_does_not_depend_on_them(tmp_path):
    ends = []
    for extra in (True, False):
        module, data = toy_module(), toy_data(tmp_path / str(extra), reference_energies="fit")
        module.set_references(data.references.energies)
        toy_trainer(tmp_path, 2, *([ReferenceFit()] if extra else [])).fit(module, datamodule=data)
        ends.append(torch.cat([each.flatten() for each in module.student.parameters()]))
    torch.testing.assert_close(*ends, rtol=0, atol=0)

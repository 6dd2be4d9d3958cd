"""A teacher's labels against the reference data."""

from dataclasses import replace

import numpy as np
import pytest

from jointkd.errors import DataError, LabelMismatch
from jointkd.evaluation.teacher_errors import compare_sample, teacher_errors
from tests.toy import FREE, toy_data


def test_errors_are_means_over_the_targets_of_the_student(tmp_path):
    data = toy_data(tmp_path)
    alignment, store = data.teacher["train"].alignment, data.teacher["train"].store
    forces, energies, raw = [], [], []
    for frame in data.frames["val"]:
        labels = store.read(frame.key)
        forces += list(np.abs(labels.forces - frame.forces).flatten())
        excess = labels.atomic_energies.sum() - (frame.energy - sum(FREE[int(z)] for z in frame.numbers))
        energies.append(abs(excess - sum(alignment.shift[int(z)] for z in frame.numbers)))
        raw.append(abs(labels.energy - frame.energy) / len(frame))
    sizes = [len(frame) for frame in data.frames["val"]]
    assert teacher_errors(data, "val") == {
        "energy_mae_meV_per_atom": pytest.approx(1e3 * np.mean(np.divide(energies, sizes))),
        "energy_mae_meV": pytest.approx(1e3 * np.mean(energies)),
        "unaligned_energy_mae_meV_per_atom": pytest.approx(1e3 * np.mean(raw)),
        "force_mae_meV_per_A": pytest.approx(1e3 * np.mean(forces)),
    }


@pytest.mark.parametrize(("split", "remedy"), [("val", "label.validation=true"), ("test", "jointkd.label")])
def test_structures_without_labels_are_refused_with_a_remedy(tmp_path, split, remedy):
    data = toy_data(tmp_path)
    data.frames[split] = [type(f)(f.numbers, f.positions + 1e-3, forces=f.forces) for f in data.frames[split]]
    with pytest.raises(LabelMismatch, match=rf"6 of 6 structures of the {split} split .*{remedy}"):
        teacher_errors(data, split)


def test_a_split_without_any_usable_label_is_refused(tmp_path):
    data = toy_data(tmp_path)
    data.teacher["train"].store._failed.update({frame.key: "no" for frame in data.frames["val"]})
    with pytest.raises(LabelMismatch, match="toy could label no structure of the val split"):
        teacher_errors(data, "val")


def comparison(data, factor):
    """The comparison of the training structures whose reference forces are so many times the teacher's."""
    store, rng = data.teacher["train"].store, np.random.default_rng(0)
    data.frames["train"] = [
        replace(frame, forces=factor * (forces + rng.normal(scale=0.1, size=forces.shape)))
        for frame in data.frames["train"]
        for forces in [store.read(frame.key).forces]
    ]
    return compare_sample(data, store)


def test_errors_on_training_structures_are_said_before_training(tmp_path):
    compared = comparison(toy_data(tmp_path), 1.0)
    assert compared.slope == pytest.approx(1.0, abs=0.1)
    assert compared.forces == pytest.approx(1e3 * 0.1 * np.sqrt(2 / np.pi), rel=0.1)
    assert not compared.weak
    assert "forces by 8" in str(compared)
    assert "on 18 training structures" in str(compared)


def test_a_teacher_that_is_off_by_much_of_the_forces_is_called_weak(tmp_path):
    data = toy_data(tmp_path)  # random forces
    assert compare_sample(data, data.teacher["train"].store).weak


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (-1.0, "give gradients instead of forces; change the sign"),
        (1 / 51.42, "as if they were in hartree/bohr and had been read in eV/angstrom; set data.units.energy=hartree"),
        (51.42, "as if they were in eV/angstrom and had been read in hartree/bohr; set data.units.energy=eV"),
        (23.06, "as if they were in kcal/mol/angstrom and had been read in eV/angstrom"),
    ],
)
def test_forces_of_another_sign_or_unit_than_the_teachers_are_refused(tmp_path, factor, message):
    with pytest.raises(DataError, match=message):
        comparison(toy_data(tmp_path), factor)


@pytest.mark.parametrize("factor", [0.8, 1.3])
def test_forces_of_another_level_of_theory_are_not_refused(tmp_path, factor):
    assert comparison(toy_data(tmp_path), factor).slope == pytest.approx(factor, rel=0.05)


def test_labels_that_are_the_reference_are_not_compared(tmp_path):
    assert compare_sample(toy_data(tmp_path, reference="teacher"), None) is None

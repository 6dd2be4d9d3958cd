"""Errors of a teacher against the reference data."""

import numpy as np
import pytest

from jointkd.errors import LabelMismatch
from jointkd.evaluation.teacher_errors import teacher_errors
from tests.toy import FREE, toy_data


def test_errors_are_means_over_the_targets_of_the_student(tmp_path):
    data = toy_data(tmp_path)
    alignment, store = data.teacher["train"].alignment, data.teacher["train"].store
    forces, energies = [], []
    for frame in data.frames["val"]:
        labels = store.read(frame.key)
        forces += list(np.abs(labels.forces - frame.forces).flatten())
        excess = labels.atomic_energies.sum() - (frame.energy - sum(FREE[int(z)] for z in frame.numbers))
        energies.append(abs(excess - sum(alignment.shift[int(z)] for z in frame.numbers)) / len(frame))
    assert teacher_errors(data, "val") == {
        "energy_mae_meV_per_atom": pytest.approx(1e3 * np.mean(energies)),
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

"""A student as a teacher: its labels, and which students are refused."""

import numpy as np
import pytest
import torch

from jointkd.errors import DataError, TeacherError
from jointkd.labels.directions import draw_probes
from jointkd.runtime import default_dtype
from jointkd.students.derivatives import predict
from jointkd.students.painn import PaiNN
from jointkd.students.student_file import SavedStudent, save_student
from jointkd.teachers.spec import TeacherSpec
from jointkd.teachers.student import from_run
from tests.labelled import frame_of
from tests.structures import ETHANOL, SALT, WATER, batch_of
from tests.teachers import along

FREE = {1: -13.6, 6: -1030.5, 8: -2043.9, 11: -4420.0, 17: -12520.0}
CARD = {"licence": "MIT", "level_of_theory": "PBE", "citation": "somebody"}


def saved(path, references=FREE, **options) -> PaiNN:
    torch.manual_seed(0)
    arguments = {"width": 8, "layers": 2, "radial": 6, "cutoff": 4.0, "conservative": True, **options}
    with default_dtype(torch.float64):
        student = PaiNN(**arguments)
    config = {"_target_": "jointkd.students.painn.PaiNN", **arguments}
    save_student(path, SavedStudent(config, student.state_dict(), references, {"teacher_card": CARD}))
    return student


def built(path, **options):
    return from_run(str(path), "student", **{"dtype": "float64", "device": "cpu", "batch_atoms": None, **options})


def test_labels_are_the_students_predictions_on_its_energy_zero_with_different_numbers_of_rows(tmp_path):
    student = saved(tmp_path / "student.safetensors")
    teacher = built(tmp_path)
    some, ids = [ETHANOL, WATER, SALT], [np.array([0, 5, 26]), np.arange(9), np.array([], dtype=int)]
    labels = teacher.label([frame_of(atoms) for atoms in some], ids)
    for atoms, rows, label in zip(some, ids, labels, strict=True):
        alone = predict(student, batch_of(atoms), torch.tensor(rows)[None] if len(rows) else None)
        np.testing.assert_allclose(label.atomic_energies, alone.atomic_energies.detach(), atol=1e-12)
        np.testing.assert_allclose(label.forces, alone.forces.detach(), atol=1e-12)
        if len(rows):
            np.testing.assert_allclose(label.hessian_rows, alone.hessian_rows.detach().swapaxes(0, 1), atol=1e-12)
        total = float(alone.atomic_energies.sum()) + sum(FREE[z] for z in atoms.numbers.tolist())
        assert label.energy == pytest.approx(total, abs=1e-9)
    assert labels[2].hessian_rows.shape == (0, len(SALT), 3)
    assert {name: getattr(teacher.identity, name) for name in CARD} == CARD


def test_products_with_probes_are_those_of_the_full_hessian_also_beside_rows(tmp_path):
    saved(tmp_path / "student.safetensors")
    teacher = built(tmp_path)
    some, rows = [frame_of(ETHANOL), frame_of(WATER)], np.array([5, 0, 1])
    probes = draw_probes(some[0].key, len(some[0]), 2, seed=0)
    (every,) = teacher.label(some[:1], [np.arange(27)])
    (alone,) = teacher.label(some[1:], [rows])
    mixed, of_rows = teacher.label(some, [probes, rows])
    np.testing.assert_allclose(mixed.hessian_rows, along(every.hessian_rows, probes), atol=1e-12)
    np.testing.assert_allclose(of_rows.hessian_rows, alone.hessian_rows, atol=1e-12)
    assert mixed.directions is probes


def test_labels_made_by_another_student_are_not_taken_for_this_ones(tmp_path):
    spec = TeacherSpec(
        "jointkd.teachers.student.from_run", {"name": "student", "dtype": "float64", "run": str(tmp_path)}
    )
    saved(tmp_path / "student.safetensors")
    first = spec.fingerprint()
    assert first["checkpoint"] == built(tmp_path).identity.checkpoint
    saved(tmp_path / "student.safetensors", width=12)
    assert spec.fingerprint() != first


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        ({"conservative": False}, {}, TeacherError, "predicts forces directly"),
        ({"references": {}}, {}, TeacherError, "has no reference energies"),
        ({}, {"dtype": "bfloat16"}, TeacherError, "teacher.dtype=bfloat16 must be float64 or float32"),
        ({}, {"head": "pbe"}, TeacherError, "a student has one output; leave out teacher.head"),
    ],
)
def test_what_cannot_teach_is_refused(tmp_path, change, options, error, message):
    saved(tmp_path / "student.safetensors", **change)
    with pytest.raises(error, match=message):
        built(tmp_path, **options)


def test_a_folder_without_a_student_is_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist; give the folder of a finished run"):
        built(tmp_path)

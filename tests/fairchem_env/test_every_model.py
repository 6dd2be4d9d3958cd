"""Properties of all fairchem teachers: converted eSEN models, and models that fairchem-core loads itself."""

import numpy as np
import pytest

from jointkd.errors import TeacherError
from jointkd.labelling.checker import LabelChecker
from jointkd.labelling.loop import label
from jointkd.labels.records import choose_rows
from jointkd.labels.store import LabelStore
from tests.fairchem_env.checkpoints import ARCHITECTURES
from tests.fairchem_env.labelled import ETHANOL, SALT, WATER, agree, frame_of, labels_of, moved

pytest.importorskip("fairchem.core", reason="fairchem-core is not installed: make env-fairchem")


@pytest.fixture(params=["converted eSEN", *ARCHITECTURES])
def teacher(request, esen, teacher_2x):
    return esen if request.param == "converted eSEN" else teacher_2x(request.param)


@pytest.mark.parametrize("atoms", [ETHANOL, SALT], ids=["molecule", "crystal"])
def test_forces_and_rows_are_central_differences(teacher, atoms):
    step, rows = 1e-4, [0, 4, 3 * len(atoms) - 1]
    labels = labels_of(teacher, atoms, rows)
    for row, labelled in zip(rows, labels.hessian_rows, strict=True):
        ahead, behind = (labels_of(teacher, moved(atoms, row, sign * step)) for sign in (1, -1))
        slope = -(ahead.energy - behind.energy) / (2 * step)
        np.testing.assert_allclose(labels.forces.reshape(-1)[row], slope, rtol=1e-5, atol=1e-8)
        column = -(ahead.forces - behind.forces) / (2 * step)
        np.testing.assert_allclose(labelled, column, rtol=0, atol=1e-5 * np.abs(labels.hessian_rows).max())


@pytest.mark.parametrize("atoms", [ETHANOL, SALT], ids=["molecule", "crystal"])
def test_a_full_hessian_is_symmetric_and_its_rows_sum_to_zero(teacher, atoms):
    hessian = labels_of(teacher, atoms, range(3 * len(atoms))).hessian_rows
    square = hessian.reshape(len(hessian), -1)
    bound = 1e-12 * np.abs(square).max()
    np.testing.assert_allclose(square, square.T, rtol=0, atol=bound)
    np.testing.assert_allclose(hessian.sum(1), 0, atol=bound)


def test_labels_do_not_depend_on_the_batch(teacher):
    chosen = [(ETHANOL, [3, 0, 26]), (SALT, [5]), (WATER, [])]
    frames = [frame_of(atoms) for atoms, _ in chosen]
    together = teacher.label(frames, [np.array(rows, dtype=int) for _, rows in chosen])
    for (atoms, rows), labels in zip(chosen, together, strict=True):
        agree(labels, labels_of(teacher, atoms, rows), 1e-12)


def test_atomic_energies_and_references_sum_to_the_energy(teacher):
    labels = labels_of(teacher, ETHANOL)
    free = sum(teacher.identity.free_atom_energies[int(z)] for z in ETHANOL.numbers)
    np.testing.assert_allclose(labels.atomic_energies.sum() + free, labels.energy, rtol=1e-14)
    assert teacher.identity.free_atom_energies[8] == pytest.approx(-0.8)


def test_labels_do_not_change_under_translation(teacher):
    far = ETHANOL.copy()
    far.positions += [300.0, -200.0, 100.0]
    agree(labels_of(teacher, far, [1, 7]), labels_of(teacher, ETHANOL, [1, 7]), 1e-9)


def test_an_element_that_the_model_does_not_know_is_refused(teacher):
    heavy = WATER.copy()
    heavy.numbers[0] = 100
    with pytest.raises(TeacherError, match="does not know Fm"):
        labels_of(teacher, heavy)


def test_labels_pass_all_checks_and_are_stored(teacher, tmp_path):
    frames = [frame_of(atoms) for atoms in (ETHANOL, SALT, WATER)]
    rows = {frame.key: choose_rows(frame.key, len(frame), 4, 0) for frame in frames}
    store = LabelStore.create(tmp_path, teacher.identity, {"rows": 4})
    label(frames, rows, teacher, store)
    assert len(store) == 3
    assert not store.failed
    assert LabelChecker(teacher).bounds.differences == 1e-3

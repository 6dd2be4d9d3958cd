"""Ensembles: means and spreads of labels, and members that cannot be averaged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jointkd.errors import ConfigError, TeacherError
from jointkd.labelling.loop import label
from jointkd.labels.store import LabelStore
from jointkd.runtime import default_dtype
from jointkd.teachers import ensemble, mace, mace_model
from jointkd.teachers.spec import TeacherSpec
from tests.conftest import TINY_MACE
from tests.files import frames, isolated, molecules, saved
from tests.teachers import SETTINGS, rows_of

OPTIONS = {"name": "three", "dtype": "float64", "device": "cpu", "batch_atoms": 64}
FRAMES = frames(4)
ROWS = [np.arange(3 * len(frame)) for frame in FRAMES]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three very small MACE models with different weights and free-atom energies."""
    pytest.importorskip("mace")
    mace.import_mace()
    folder = tmp_path_factory.mktemp("ensemble")
    for seed in range(3):
        energies = {z: energy + 0.1 * seed for z, energy in TINY_MACE["free_atom_energies"].items()}
        card = {**TINY_MACE, "free_atom_energies": energies}
        with torch.random.fork_rng(devices=[]), default_dtype(torch.float32):
            torch.manual_seed(seed)
            mace_model.save(mace_model.build(card), card, folder / str(seed))
    return [str(folder / str(seed)) for seed in range(3)]


@pytest.fixture(scope="module")
def three(models: list[str]) -> ensemble.EnsembleTeacher:
    return ensemble.of_checkpoints(models, **OPTIONS)


def test_labels_are_the_means_of_the_members_and_their_spread_is_the_standard_deviation(three, models):
    members = [mace.from_checkpoint(model, **OPTIONS).label(FRAMES, ROWS) for model in models]
    for b, mean in enumerate(three.label(FRAMES, ROWS)):
        for name in ("energy", "atomic_energies", "forces", "hessian_rows"):
            values = np.stack([np.asarray(getattr(labels[b], name)) for labels in members])
            np.testing.assert_allclose(getattr(mean, name), values.mean(0), rtol=0, atol=1e-10)
            if name != "hessian_rows":
                spread = getattr(mean.spread, name)
                np.testing.assert_allclose(spread, values.std(0, ddof=1), rtol=0, atol=1e-10)
                assert np.shape(spread) == values.shape[1:]
                assert np.all(spread >= 0)
                assert np.any(spread > 0)
        free = sum(three.identity.free_atom_energies[int(z)] for z in FRAMES[b].numbers)
        assert mean.atomic_energies.sum() + free == pytest.approx(mean.energy, abs=1e-8)


def test_mean_rows_are_derivatives_of_the_mean_forces(three):
    frame, step = FRAMES[1], 1e-4
    row = np.zeros_like(frame.positions)
    row[1, 2] = step
    ahead, behind = (replace(frame, positions=frame.positions + sign * row) for sign in (1, -1))
    none = np.zeros(0, int)
    forces = [labels.forces for labels in three.label([ahead, behind], [none, none])]
    (mean,) = three.label([frame], [np.array([5])])
    np.testing.assert_allclose(mean.hessian_rows[0], -(forces[0] - forces[1]) / (2 * step), rtol=0, atol=1e-6)


def test_the_spread_is_stored_with_the_labels(three, tmp_path):
    store = LabelStore.create(tmp_path / "labels", three.identity, SETTINGS)
    label(FRAMES, rows_of(FRAMES), three, store)
    again = LabelStore.open(tmp_path / "labels")
    assert again.teacher.members == 3
    (labels,) = three.label(FRAMES[:1], [np.zeros(0, int)])
    stored = again.read(FRAMES[0].key).spread
    assert stored is not None
    assert stored.energy == pytest.approx(labels.spread.energy, abs=1e-9)
    np.testing.assert_allclose(stored.forces, labels.spread.forces, rtol=0, atol=1e-10)
    np.testing.assert_allclose(stored.atomic_energies, labels.spread.atomic_energies, rtol=0, atol=1e-10)
    assert again.content_hash() == store.content_hash()


def test_the_order_of_the_members_has_no_influence(three, models):
    other = ensemble.of_checkpoints(models[::-1], **OPTIONS)
    assert other.identity == three.identity
    ours, theirs = (teacher.label(FRAMES[:1], ROWS[:1])[0] for teacher in (three, other))
    np.testing.assert_array_equal(ours.hessian_rows, theirs.hessian_rows)


def test_an_ensemble_is_identified_by_its_members_without_loading_them(three, models):
    two = ensemble.of_checkpoints(models[:2], **OPTIONS).identity
    assert two.checkpoint != three.identity.checkpoint
    expected = TeacherSpec("ensemble", {**OPTIONS, "head": None, "checkpoints": models}).fingerprint()
    assert expected == three.identity.fingerprint()


def test_an_ensemble_must_have_two_or_more_different_members(models):
    for chosen in (models[:1], [models[0], models[0]]):
        with pytest.raises(TeacherError, match="must have two or more different members"):
            ensemble.of_checkpoints(chosen, **OPTIONS)
    for not_a_list in ([], models[0]):
        with pytest.raises(ConfigError, match="must be a list"):
            ensemble.of_checkpoints(not_a_list, **OPTIONS)


def test_members_of_different_levels_of_theory_are_refused(three):
    one, other = (member.identity for member in three.members[:2])
    for theory, named in (("r2SCAN", "r2SCAN"), ("", "unknown")):
        with pytest.raises(TeacherError, match=f"different levels of theory: PBE, {named}"):
            ensemble.joint_identity([replace(one, level_of_theory="PBE"), replace(other, level_of_theory=theory)], "e")


def test_an_ensemble_knows_the_elements_that_all_members_know(three):
    one, other = (member.identity for member in three.members[:2])
    assert ensemble.joint_identity([replace(one, elements=(1, 8)), other], "e").elements == (1, 8)
    with pytest.raises(TeacherError, match="no element in common"):
        ensemble.joint_identity([replace(one, elements=(26,)), other], "e")


def test_an_ensemble_labels_in_a_training_run(command, tmp_path, models):
    saved(Path(tmp_path / "mine.xyz"), [*isolated(), *molecules(20)])
    run = command(
        "train", "data=extxyz", "data.path=mine.xyz", "data.energy_key=REF_energy", "data.forces_key=REF_forces",
        "student.width=8", "student.layers=1", "student.radial=4", "student.cutoff=3", "trainer.max_epochs=1",
        "label.rows=2", "label.eval_rows=2", "teacher=ensemble", f"teacher.checkpoints=[{','.join(models)}]",
    )  # fmt: skip
    assert run.status == 0, run.err

"""The teacher's terms lose their weight as the student's validation errors reach the teacher's, and only then."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import numpy as np
import pytest

from jointkd.data.dataset import EpochBatches
from jointkd.errors import ConfigError
from jointkd.evaluation.teacher_errors import compare_sample
from jointkd.structures.batch import Structure
from jointkd.training import module as module_of
from jointkd.training.callbacks.teacher_trust import ENERGY, FORCES, TeacherTrust
from tests.toy import toy_data, toy_frames, toy_module, toy_trainer
from tests.unit.data.test_unlabelled import joined

TEACHER = {FORCES: 100.0, ENERGY: 2.0}


def trainer_with(forces: float, energy: float) -> Any:
    """A trainer in epoch 4, with three structures of which two have reference labels."""
    metrics = {f"val/{FORCES}": forces, f"val/{ENERGY}": energy}
    loader = SimpleNamespace(batches=EpochBatches(3, 1, 0, True, referenced=np.array([0, 2])))
    return SimpleNamespace(callback_metrics=metrics, global_step=7, current_epoch=4, train_dataloader=loader)


def shares_after(*errors: tuple[float, float], teacher: dict[str, float] = TEACHER) -> dict[str, float]:
    """The shares of all terms of a module after validations with these errors of forces and energies."""
    module, callback = toy_module(), TeacherTrust()
    callback.teacher, callback.shares = teacher, {"hessian": 1.0, "atomic_energy": 1.0}
    for forces, energy in errors:
        callback.on_validation_end(trainer_with(forces, energy), module)
    return {name: pytest.approx(term.teachers_share) for name, term in module.terms.items()}


@pytest.mark.parametrize(
    ("forces", "energy", "hessian", "atomic"),
    [
        (500.0, 50.0, 1.0, 1.0),
        (120.0, 2.4, 1.0, 1.0),
        (110.0, 50.0, 0.5, 0.5),
        (100.0, 50.0, 0.0, 0.0),
        (500.0, 2.2, 1.0, 0.5),
        (500.0, 2.0, 1.0, 0.0),
        (500.0, 1.0, 1.0, 0.0),
    ],
)
def test_a_share_falls_from_a_fifth_above_the_teachers_error_to_the_error(forces, energy, hessian, atomic):
    expected = {"energy": 1.0, "forces": 1.0, "hessian": hessian, "atomic_energy": atomic}
    assert shares_after((forces, energy)) == expected


def test_a_share_that_has_fallen_does_not_rise_again():
    assert shares_after((110.0, 50.0), (500.0, 50.0))["hessian"] == 0.5


@pytest.mark.parametrize(
    ("forces", "energy", "share_of_forces", "share_of_energies"),
    [(500.0, 50.0, 1.0, 1.0), (110.0, 50.0, 0.5, 0.5), (500.0, 2.0, 1.0, 0.0), (99.0, 50.0, 0.0, 0.0)],
)
def test_labels_that_complete_reference_data_lose_weight_as_the_teachers_terms_do(
    forces, energy, share_of_forces, share_of_energies
):
    module, callback = toy_module(), TeacherTrust()
    callback.teacher, callback.shares = TEACHER, dict.fromkeys(module.terms, 1.0)
    callback.on_validation_end(trainer_with(forces, energy), module)
    assert module.terms["forces"].teachers_share == pytest.approx(share_of_forces)
    assert module.terms["energy"].teachers_share == pytest.approx(share_of_energies)
    assert all(module.terms[name].current_weight == module.terms[name].weight for name in ("energy", "forces"))


@pytest.mark.parametrize(("forces", "left_out"), [(99.0, True), (101.0, False)])
def test_structures_of_a_teacher_that_the_student_has_surpassed_are_left_out_and_counted_once(caplog, forces, left_out):
    module, callback = toy_module(), TeacherTrust()
    callback.teacher, callback.shares = TEACHER, dict.fromkeys(module.terms, 1.0)
    trainer = trainer_with(forces, 9.0)
    for trainer.current_epoch in (4, 5):
        callback.on_validation_end(trainer, module)
    assert trainer.train_dataloader.batches.only_referenced_from == (5 if left_out else None)
    message = (
        "the student's forces are now better than the teacher's (100 meV/Å): from epoch 5 on, 1 training structures "
        "that have only the teacher's labels are left out"
    )
    assert caplog.text.count(message) == left_out


def test_without_an_energy_error_of_the_teacher_all_terms_follow_the_forces():
    assert shares_after((500.0, 0.1), teacher={FORCES: 100.0})["atomic_energy"] == 1.0
    assert shares_after((90.0, 50.0), teacher={FORCES: 100.0})["atomic_energy"] == 0.0


def fit(
    folder: Path, callback: TeacherTrust, epochs: int = 2, resume: Path | None = None, without: tuple[str, ...] = ()
) -> Any:
    """The module after so many epochs of five steps; without: terms that it does not have."""
    module = toy_module()
    for name in without:
        del module.terms[name]
    trainer = toy_trainer(folder, epochs, callback)
    data = toy_data(folder)
    module.compared = compare_sample(data, data.teacher["train"].store)
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=False)
    trainer.save_checkpoint(folder / "end.ckpt")
    return module


def test_a_teacher_that_answers_at_random_is_left_out_and_its_rows_are_no_longer_computed(
    tmp_path, caplog, monkeypatch
):
    asked: list[bool] = []
    monkeypatch.setattr(TeacherTrust, "_share", lambda *_: 0.0)
    real = module_of.predict

    def predict(student, batch, rows=None, stress=False):
        asked.append(rows is not None)
        return real(student, batch, rows, stress)

    monkeypatch.setattr(module_of, "predict", predict)
    with caplog.at_level("INFO"):
        module = fit(tmp_path, TeacherTrust())
    assert [module.terms[name].teachers_share for name in ("energy", "forces", "hessian", "atomic_energy")] == [
        1,
        1,
        0,
        0,
    ]
    assert asked.count(True) == 5  # of the first epoch, before the first validation
    assert "hessian loses its weight while the student's validation error falls from" in caplog.text
    assert "0 % of the weight of hessian" in caplog.text


class Seen(lightning.Callback):
    """How many structures with the teacher's forces each epoch had."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        self.epochs.append(0)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Structure, number: int) -> None:
        assert batch.from_teacher is not None
        self.epochs[-1] += int(batch.from_teacher.all(1).sum())


def fit_half_labelled(folder: Path, epochs: int, *, resume: Path | None = None, without: tuple[str, ...] = ()) -> Any:
    """The module, and how many structures without reference labels each epoch had."""
    module, callback, seen = toy_module(), TeacherTrust(), Seen()
    for name in without:
        del module.terms[name]
    trainer = toy_trainer(folder, epochs, callback, seen)
    folder.mkdir()
    data = joined(folder, toy_frames(), batch_size=4)
    module.compared = compare_sample(data, data.teacher["train"].store)
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=False)
    trainer.save_checkpoint(folder / "end.ckpt")
    return module, seen.epochs


@pytest.mark.parametrize("without", [(), ("hessian", "atomic_energy")])
def test_training_goes_on_with_reference_labels_alone_and_remembers_so_when_it_is_resumed(
    tmp_path, monkeypatch, without
):
    monkeypatch.setattr(TeacherTrust, "_share", lambda *_: 0.0)
    module, epochs = fit_half_labelled(tmp_path / "a", 2, without=without)
    assert epochs[0] > 0 == epochs[1]
    assert module.terms["forces"].teachers_share == module.terms["energy"].teachers_share == 0.0
    monkeypatch.setattr(TeacherTrust, "_share", lambda *_: 1.0)
    resumed, later = fit_half_labelled(tmp_path / "b", 3, resume=tmp_path / "a" / "end.ckpt", without=without)
    assert later == [0]
    assert resumed.terms["forces"].teachers_share == 0.0


def test_a_run_that_began_before_completed_labels_yielded_goes_on_with_their_whole_weight(tmp_path, monkeypatch):
    monkeypatch.setattr(TeacherTrust, "_share", lambda *_: 0.0)
    monkeypatch.setattr(TeacherTrust, "state_dict", lambda self: {"shares": {"hessian": 0.5, "atomic_energy": 0.5}})
    fit_half_labelled(tmp_path / "a", 1)
    module, epochs = fit_half_labelled(tmp_path / "b", 3, resume=tmp_path / "a" / "end.ckpt")
    assert all(epochs)
    assert module.terms["forces"].teachers_share == 1.0
    assert module.terms["hessian"].teachers_share == 0.0


def test_with_constant_trust_nothing_changes(tmp_path, caplog):
    with caplog.at_level("INFO"):
        module = fit(tmp_path, TeacherTrust("constant"))
    assert {term.teachers_share for term in module.terms.values()} == {1.0}
    assert "method.trust" not in caplog.text


def test_a_teacher_that_alone_is_learned_from_keeps_its_weight(tmp_path, monkeypatch):
    monkeypatch.setattr(TeacherTrust, "_share", lambda *_: 0.0)
    module = fit(tmp_path, TeacherTrust(), without=("energy", "forces"))
    assert {name: term.teachers_share for name, term in module.terms.items()} == {"hessian": 1.0, "atomic_energy": 1.0}


def test_a_run_that_goes_on_remembers_what_it_has_taken_away(tmp_path, monkeypatch):
    monkeypatch.setattr(TeacherTrust, "_share", lambda *_: 0.25)
    fit(tmp_path, TeacherTrust(), epochs=1)
    monkeypatch.setattr(TeacherTrust, "_share", lambda *_: 1.0)
    module = fit(tmp_path, TeacherTrust(), epochs=2, resume=tmp_path / "end.ckpt")
    assert module.terms["hessian"].teachers_share == 0.25


def test_a_run_of_a_version_that_knew_no_trust_goes_on_as_it_began(tmp_path, monkeypatch):
    monkeypatch.setattr(TeacherTrust, "_share", lambda *_: 0.25)
    monkeypatch.setattr(TeacherTrust, "state_key", property(lambda self: "of another version"))
    fit(tmp_path, TeacherTrust(), epochs=1)
    monkeypatch.undo()
    monkeypatch.setattr(TeacherTrust, "_share", lambda *_: 0.25)
    module = fit(tmp_path, TeacherTrust(), epochs=2, resume=tmp_path / "end.ckpt")
    assert module.terms["hessian"].teachers_share == 1.0


def test_another_trust_is_refused():
    with pytest.raises(ConfigError, match=r"method.trust=always is not known; choose one of auto, constant"):
        TeacherTrust("always")

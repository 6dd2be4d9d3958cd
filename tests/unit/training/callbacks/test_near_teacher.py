"""The weight of the Hessian term is halved once, when the student is about as accurate as its teacher."""

from pathlib import Path

import lightning

from jointkd.training.callbacks.near_teacher import HalveNearTeacher
from tests.toy import toy_data, toy_module, toy_trainer

BETTER, WORSE = 10.0, -0.99  # values of `within` that every student and no student meets


class Weights(lightning.Callback):
    """Records the weight of the Hessian term in each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer, module, *_) -> None:
        self.seen.append(module.terms["hessian"].weight)


def fit(folder: Path, callback: HalveNearTeacher, epochs: int, resume: Path | None = None) -> list[float]:
    weights = Weights()
    trainer = toy_trainer(folder, epochs, callback, weights)
    trainer.fit(toy_module(), datamodule=toy_data(folder), ckpt_path=resume, weights_only=False)
    trainer.save_checkpoint(folder / "end.ckpt")
    return weights.seen


def test_the_weight_is_halved_at_the_first_check_after_a_validation_near_the_teacher(tmp_path):
    assert fit(tmp_path, HalveNearTeacher(BETTER, every=7), epochs=3) == [400.0] * 7 + [200.0] * 8


def test_a_student_that_is_worse_keeps_its_weight(tmp_path):
    assert fit(tmp_path, HalveNearTeacher(WORSE, every=1), epochs=2) == [400.0] * 10


def test_a_halved_weight_is_not_halved_again_after_resumption(tmp_path):
    fit(tmp_path, HalveNearTeacher(BETTER, every=5), epochs=2)
    again = fit(tmp_path, HalveNearTeacher(BETTER, every=5), epochs=3, resume=tmp_path / "end.ckpt")
    assert again == [200.0] * 5


def test_a_resumed_run_remembers_the_last_validation(tmp_path):
    fit(tmp_path, HalveNearTeacher(BETTER, every=7), epochs=1)
    again = fit(tmp_path, HalveNearTeacher(BETTER, every=7), epochs=2, resume=tmp_path / "end.ckpt")
    assert again == [400.0, 400.0, 200.0, 200.0, 200.0]

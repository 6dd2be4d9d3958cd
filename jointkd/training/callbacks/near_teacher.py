"""A callback of the prior art: it halves the Hessian term once the student is about as accurate as the teacher."""

import logging
from typing import Any

import lightning

from jointkd.evaluation.teacher_errors import teacher_errors
from jointkd.training.module import MONITOR, DistillationModule

log = logging.getLogger(__name__)


class HalveNearTeacher(lightning.Callback):
    """Halves the weight of the Hessian term permanently when the student approaches the teacher's accuracy.

    Every `every` steps, the force error of the last validation is compared with (1 + within) times the teacher's own
    error. Without a Hessian term nothing happens. Source: the code of Amin et al., ICLR 2025.
    """

    def __init__(self, within: float = 0.05, every: int = 20) -> None:
        self.within, self.every = within, every
        self.halved = False
        self.student = float("inf")  # meV/Å
        self.teacher = 0.0  # meV/Å

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if "hessian" in module.terms:
            self.teacher = teacher_errors(data, "val")["force_mae_meV_per_A"]
            log.info("force MAE of the teacher on the validation split: %.1f meV/Å", self.teacher)
        if self.halved:
            self._halve(module)

    def on_validation_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        self.student = float(trainer.callback_metrics[MONITOR])

    def on_train_batch_start(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        near = self.student < (1 + self.within) * self.teacher
        if near and not self.halved and trainer.global_step % self.every == 0:
            self.halved = True
            self._halve(module)
            log.info(
                "step %d: validation force MAE %.1f meV/Å, the teacher's %.1f: weight of the Hessian term halved",
                trainer.global_step,
                self.student,
                self.teacher,
            )

    def _halve(self, module: DistillationModule) -> None:
        module.terms["hessian"].weight *= 0.5

    def state_dict(self) -> dict[str, Any]:
        return {"halved": self.halved, "student": self.student}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.halved, self.student = state["halved"], state["student"]

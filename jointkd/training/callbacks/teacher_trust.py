"""How far the teacher is trusted: its labels lead while the student is worse than it is, and then yield to the data."""

import logging
from collections.abc import Mapping
from typing import Any

import lightning

from jointkd.errors import ConfigError
from jointkd.training.loss import Energy, Forces, Term
from jointkd.training.module import DistillationModule

log = logging.getLogger(__name__)

CHOICES = ("auto", "constant")
FULL = 1.2  # times the teacher's error: while the student's is larger, the teacher counts fully
FORCES, ENERGY = "force_mae_meV_per_A", "energy_mae_meV_per_atom"
UNITS = {FORCES: "meV/Å", ENERGY: "meV/atom"}
LOGGED = 0.1  # smaller changes of a share are not worth a line


class TeacherTrust(lightning.Callback):
    """Lowers the weights of the teacher's labels as the student's validation errors reach the teacher's own errors.

    trust: `auto`, or `constant`, with which nothing is done. The teacher's errors are those against the reference data
    of the training structures, which it need not know better than others. The teacher's terms follow the error of the
    forces, that of the atomic energies also the error of the energies: who learns the teacher's atomic energies learns
    its forces, too. Its forces and energies in place of missing reference labels do likewise. A weight that has fallen
    does not rise again; where that of its forces is zero, structures with none but its labels are left out.
    """

    def __init__(self, trust: str = "auto") -> None:
        if trust not in CHOICES:
            raise ConfigError(f"method.trust={trust} is not known", f"choose one of {', '.join(CHOICES)}")
        self.trust = trust
        self.teacher: Mapping[str, float] = {}  # errors by the names of the student's metrics
        self.shares: dict[str, float] | None = None  # of the weights of the teacher's labels, by the name of the term
        self.left_out_from: int | None = None  # the epoch from which structures with none but its labels are left out

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        if self.shares is None and trainer.global_step > 0:
            self.trust = "constant"  # as the run began, with a version that did not have this
        terms = self._following(module, trainer)
        if self.trust == "constant" or not terms or module.compared is None or not learns_from_others(module):
            return
        self.teacher = module.compared.metrics
        self.shares = {name: (self.shares or {}).get(name, 1.0) for name in terms}
        self._apply(trainer, module)
        for name, term in terms.items():
            for error in followed(term, self.teacher):
                log.info(
                    "method.trust=auto: %s loses its weight while the student's validation error falls from %.3g to "
                    "%.3g %s, the error of the teacher",
                    described(name, term),
                    FULL * self.teacher[error],
                    self.teacher[error],
                    UNITS[error],
                )

    def _following(self, module: DistillationModule, trainer: Any) -> dict[str, Term]:
        """The terms with labels of the teacher; without those whose weights were constant when the run began."""
        completed = trainer.datamodule.from_teacher
        found = {name: term for name, term in module.terms.items() if term.learns_from_teacher(completed)}
        known = found if self.shares is None else self.shares
        return {name: term for name, term in found.items() if term.teacher or name in known}

    def on_validation_end(self, trainer: lightning.Trainer, module: Any) -> None:
        if not self.teacher or self.shares is None:
            return
        student = {name: float(trainer.callback_metrics[f"val/{name}"]) for name in (FORCES, ENERGY)}
        for name, before in self.shares.items():
            term = module.terms[name]
            share = min(before, *(self._share(student, error) for error in followed(term, self.teacher)))
            if before - share >= LOGGED or (share == 0) != (before == 0):
                log.info(
                    "step %d: validation errors %.3g meV/Å and %.3g meV/atom: %.0f %% of the weight of %s",
                    trainer.global_step,
                    student[FORCES],
                    student[ENERGY],
                    100 * share,
                    described(name, term),
                )
            self.shares[name] = share
            if isinstance(term, Forces) and share == 0 and self.left_out_from is None:
                self.left_out_from = trainer.current_epoch + 1
        self._apply(trainer, module)

    def _share(self, student: Mapping[str, float], error: str) -> float:
        """One while the student's error is FULL times the teacher's or more, and zero once it is as small."""
        ratio = student[error] / max(self.teacher[error], 1e-9)
        return min(1.0, max(0.0, (ratio - 1) / (FULL - 1)))

    def _apply(self, trainer: lightning.Trainer, module: DistillationModule) -> None:
        for name, share in (self.shares or {}).items():
            module.terms[name].teachers_share = share
        loader: Any = trainer.train_dataloader
        if self.left_out_from is None or loader.batches.only_referenced_from == self.left_out_from:
            return
        loader.batches.only_referenced_from = self.left_out_from
        if left_out := loader.batches.length - len(loader.batches.referenced):
            log.warning(
                "the student's forces are now better than the teacher's (%.3g meV/Å): from epoch %d on, %d training "
                "structures that have only the teacher's labels are left out",
                self.teacher[FORCES],
                self.left_out_from,
                left_out,
            )

    def state_dict(self) -> dict[str, Any]:
        return {"shares": self.shares, "left_out_from": self.left_out_from}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.shares, self.left_out_from = state["shares"], state.get("left_out_from")


def learns_from_others(module: DistillationModule) -> bool:
    """Whether there are reference data for the teacher to yield to."""
    return any(not term.teacher for term in module.terms.values())


def followed(term: Term, teacher: Mapping[str, float]) -> list[str]:
    """The errors that the weight of a term follows."""
    return [FORCES, ENERGY] if (term.atomic or isinstance(term, Energy)) and ENERGY in teacher else [FORCES]


def described(name: str, term: Term) -> str:
    """What of a term is the teacher's."""
    return name if term.teacher else f"{name} of structures without reference {name}"

"""How far the teacher is trusted: its terms lead while the student is worse than it is, and then yield to the data."""

import logging
from collections.abc import Mapping
from typing import Any

import lightning

from jointkd.errors import ConfigError
from jointkd.training.loss import Term
from jointkd.training.module import DistillationModule

log = logging.getLogger(__name__)

CHOICES = ("auto", "constant")
FULL = 1.2  # times the teacher's error: while the student's is larger, the teacher counts fully
FORCES, ENERGY = "force_mae_meV_per_A", "energy_mae_meV_per_atom"
UNITS = {FORCES: "meV/Å", ENERGY: "meV/atom"}
LOGGED = 0.1  # smaller changes of a share are not worth a line


class TeacherTrust(lightning.Callback):
    """Lowers the weights of the teacher's terms as the student's validation errors reach the teacher's own errors.

    trust: `auto`, or `constant`, with which nothing is done. The teacher's errors are those against the reference data
    of the training structures, which it need not know better than others. Terms follow the error of the forces, that of
    the atomic energies also the error of the energies: who learns the teacher's atomic energies learns its forces, too.
    A weight that has fallen does not rise again. Labels of the teacher that stand in for missing reference labels keep
    their weight; where the student surpasses them, a warning says so.
    """

    def __init__(self, trust: str = "auto") -> None:
        if trust not in CHOICES:
            raise ConfigError(f"method.trust={trust} is not known", f"choose one of {', '.join(CHOICES)}")
        self.trust = trust
        self.teacher: Mapping[str, float] = {}  # errors by the names of the student's metrics
        self.shares: dict[str, float] | None = None  # of the weights, by the name of the term
        self.warned = False

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        if self.shares is None and trainer.global_step > 0:
            self.trust = "constant"  # as the run began, with a version that did not have this
        terms = teachers_terms(module)
        if self.trust == "constant" or not terms or len(terms) == len(module.terms) or module.compared is None:
            return  # without a teacher, or without terms of other reference data to yield to
        self.teacher = module.compared.metrics
        self.shares = {name: (self.shares or {}).get(name, 1.0) for name in terms}
        self._apply(module)
        for name, term in terms.items():
            for error in followed(term, self.teacher):
                log.info(
                    "method.trust=auto: %s loses its weight while the student's validation error falls from %.3g to "
                    "%.3g %s, the error of the teacher",
                    name,
                    FULL * self.teacher[error],
                    self.teacher[error],
                    UNITS[error],
                )

    def on_validation_end(self, trainer: lightning.Trainer, module: Any) -> None:
        if not self.teacher or self.shares is None:
            return
        student = {name: float(trainer.callback_metrics[f"val/{name}"]) for name in (FORCES, ENERGY)}
        for name, term in teachers_terms(module).items():
            share = min(self.shares[name], *(self._share(student, error) for error in followed(term, self.teacher)))
            if self.shares[name] - share >= LOGGED or (share == 0) != (self.shares[name] == 0):
                log.info(
                    "step %d: validation errors %.3g meV/Å and %.3g meV/atom: %.0f %% of the weight of %s",
                    trainer.global_step,
                    student[FORCES],
                    student[ENERGY],
                    100 * share,
                    name,
                )
            self.shares[name] = share
        self._apply(module)
        if not self.warned and student[FORCES] <= self.teacher[FORCES]:
            self.warned = True
            warn_of_labels(getattr(trainer, "datamodule", None), self.teacher[FORCES])

    def _share(self, student: Mapping[str, float], error: str) -> float:
        """One while the student's error is FULL times the teacher's or more, and zero once it is as small."""
        ratio = student[error] / max(self.teacher[error], 1e-9)
        return min(1.0, max(0.0, (ratio - 1) / (FULL - 1)))

    def _apply(self, module: DistillationModule) -> None:
        for name, share in (self.shares or {}).items():
            module.terms[name].share = share

    def state_dict(self) -> dict[str, Any]:
        return {"shares": self.shares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.shares = state["shares"]


def warn_of_labels(data: Any, error: float) -> None:
    """Say that the student learns forces of a teacher that it has surpassed. error: meV/Å, the teacher's."""
    structures = getattr(data, "from_teacher", {}).get("forces", 0)
    if structures:
        log.warning(
            "the student's forces are now better than the teacher's (%.3g meV/Å), and %d training structures have only "
            "the teacher's: these hold the student back; train it without them, or with a better teacher",
            error,
            structures,
        )


def teachers_terms(module: DistillationModule) -> dict[str, Term]:
    """The terms that need a teacher's labels."""
    return {name: term for name, term in module.terms.items() if term.teacher}


def followed(term: Term, teacher: Mapping[str, float]) -> list[str]:
    """The errors that the weight of a term follows."""
    return [FORCES, ENERGY] if term.atomic and ENERGY in teacher else [FORCES]

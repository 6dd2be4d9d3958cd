"""The LightningModule: a student, the joint objective, its optimiser, and the metrics of the paper's tables."""

import sys
from collections.abc import Callable
from typing import Any

import lightning
import torch
from torch import Tensor

from jointkd.errors import ConfigError, DivergedError, first_line
from jointkd.evaluation.metrics import METRICS, MeanOfAll, prediction_errors
from jointkd.evaluation.teacher_errors import Comparison
from jointkd.structures.batch import Prediction, Structure
from jointkd.students.base import Student
from jointkd.students.derivatives import predict
from jointkd.training.loss import Term, active, needs
from jointkd.training.weighted_sum import weighted_sum

MONITOR = "val/force_mae_meV_per_A"
HEAVIEST_ELEMENT = 118


class DistillationModule(lightning.LightningModule):
    """Trains a student. terms: the weighted terms of the loss by name; terms of weight zero are not computed.

    optimizer: parameters → optimiser; scheduler: optimiser → scheduler. ReduceLROnPlateau is stepped with the force MAE
    after every validation, other schedulers after every epoch.
    """

    reference_energies: Tensor  # [119] eV by atomic number: with the student's energies they are total energies
    data_references: Tensor  # [119] the same for the energies of batches

    def __init__(
        self,
        student: Student,
        terms: dict[str, Term],
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__()
        self.student: Student = student
        self.terms = {name: term for name, term in terms.items() if term.weight > 0}
        if terms and not self.terms:
            weights = ", ".join(f"method.terms.{name}.weight" for name in terms)
            raise ConfigError(f"nothing is learned, as {weights} are all 0", "give one of them a weight above 0")
        self.step: Callable[[Structure], tuple[Tensor, dict[str, Tensor]]] = self.loss  # or a faster form
        self.rows = max((term.rows for term in self.terms.values()), default=0)
        self.make_optimizer: Callable[..., torch.optim.Optimizer] = optimizer
        self.make_scheduler = scheduler
        self.compared: Comparison | None = None  # the teacher with the reference data of training structures
        self.record: dict[str, Any] | None = None  # of the run, for its checkpoints
        self._rate_changed = False
        self._means: dict[str, Tensor] = {}  # of each term, summed over the micro-batches of the step so far
        zeros = torch.zeros(HEAVIEST_ELEMENT + 1, dtype=torch.float64)
        self.register_buffer("reference_energies", zeros)
        self.register_buffer("data_references", zeros.clone(), persistent=False)
        self.metrics = torch.nn.ModuleDict(
            {stage: torch.nn.ModuleDict({name: MeanOfAll() for name in METRICS}) for stage in ("val", "test")}
        )

    @property
    def needs_teacher(self) -> bool:
        """Whether any term needs a teacher's labels."""
        return any(term.teacher for term in self.terms.values())

    @property
    def needs_atomic_energies(self) -> bool:
        """Whether any term needs a teacher's atomic energies."""
        return any(term.atomic for term in self.terms.values())

    @property
    def needs_stress(self) -> bool:
        """Whether any term needs stresses."""
        return any(term.stress for term in self.terms.values())

    def set_references(self, energies: dict[int, float]) -> None:
        """Set the reference energies (eV by atomic number), to which the energies of batches are relative.

        The student's are, too, until a `ReferenceFit` gives it others; checkpoints have the student's.
        """
        for number, energy in energies.items():
            self.data_references[number] = energy
        self.reference_energies.copy_(self.data_references)

    def loss(self, batch: Structure) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, to be differentiated, and the mean of each term over all ranks."""
        terms = active(self.terms)
        rows, stress = needs(terms.values())
        prediction = predict(self.student, batch, batch.directions if rows else None, stress)
        return weighted_sum(terms, {name: term(prediction, batch) for name, term in terms.items()}, batch)

    def training_step(self, batch: Structure, batch_idx: int) -> Tensor:
        loss, means = self.step(batch)
        self._means = {name: self._means[name] + mean if self._means else mean for name, mean in means.items()}
        if batch.whole is None or batch.whole.last:
            self.log_dict({f"train/{name}": value for name, value in self._means.items()}, batch_size=1)
            weights = {name: term.current_weight for name, term in self.terms.items()}
            value = sum(weights[name] * mean for name, mean in self._means.items())
            self.log("train/loss", value, prog_bar=True, batch_size=1)
            self._means = {}
        return loss

    def validation_step(self, batch: Structure, batch_idx: int) -> None:
        prediction = predict(self.student, batch, None, self._has_stress(batch))
        self._measure("val", batch, self._as_labels(prediction, batch))

    def on_validation_epoch_end(self) -> None:
        metrics: Any = self.metrics["val"]
        for name, metric in metrics.items():
            if metric.update_called and not torch.isfinite(error := metric.compute()):
                raise DivergedError(
                    f"training diverged: val/{name} is {error:.0f} after step {self.global_step}",
                    "lower optimizer.lr or weights.hessian, and check the energies and forces of the data",
                )
        scheduler: Any = self.lr_schedulers()
        if is_plateau(scheduler):
            scheduler.step(metrics["force_mae_meV_per_A"].compute())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.record is not None:
            checkpoint["run"] = self.record

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the scheduler go on with the options of the configuration; PyTorch restores those of the checkpoint."""
        options = getattr(self.make_scheduler, "keywords", {})
        for state in checkpoint.get("lr_schedulers", []):
            changed = {name: value for name, value in options.items() if name in state and state[name] != value}
            state.update(changed)
            self._rate_changed |= bool(changed)

    def on_train_start(self) -> None:
        scheduler: Any = self.lr_schedulers()
        if self._rate_changed and hasattr(scheduler, "_get_closed_form_lr"):
            scheduler._last_lr = scheduler._get_closed_form_lr()  # else the next rate would follow from the old one
            for group, rate in zip(scheduler.optimizer.param_groups, scheduler._last_lr, strict=True):
                group["lr"] = rate

    def test_step(self, batch: Structure, batch_idx: int) -> dict[str, Tensor | None]:
        """Measure, and return the energies [B] eV, forces [N, 3] eV/Å and rows [N, S, 3] eV/Å² for callbacks."""
        prediction = self._as_labels(predict(self.student, batch, batch.directions, self._has_stress(batch)), batch)
        self._measure("test", batch, prediction)
        assert prediction.forces is not None
        return {
            "energies": batch.total_energy(prediction.atomic_energies),
            "forces": prediction.forces,
            "hessian_rows": prediction.hessian_rows,
        }

    def _has_stress(self, batch: Structure) -> bool:
        """Whether there are stresses to compare those of the student with."""
        return self.student.conservative and batch.stress is not None

    def _as_labels(self, prediction: Prediction, batch: Structure) -> Prediction:
        """The prediction with its energies relative to the same reference energies as those of the batch."""
        shift = (self.reference_energies - self.data_references)[batch.atomic_numbers]
        energies = prediction.atomic_energies
        return prediction._replace(atomic_energies=energies + shift.to(energies.dtype))

    def _measure(self, stage: str, batch: Structure, prediction: Prediction) -> None:
        """Update and log the metrics of a stage."""
        for name, error in prediction_errors(prediction, batch).items():
            metric = self.metrics[stage][name]  # type: ignore[index]
            metric.update(error.abs())
            self.log(f"{stage}/{name}", metric, prog_bar=stage == "val", batch_size=batch.num_structures)

    def configure_optimizers(self) -> Any:
        optimizer = made("optimizer", self.make_optimizer, self.student.parameters())
        if self.make_scheduler is None:
            return optimizer
        scheduler = made("schedulers", self.make_scheduler, optimizer)
        config = {"scheduler": scheduler, "interval": "epoch", "monitor": MONITOR}
        if is_plateau(scheduler):
            # Lightning skips a plateau scheduler in the epoch in which training is resumed, so we step it ourselves.
            config["frequency"] = sys.maxsize
        return {"optimizer": optimizer, "lr_scheduler": config}


def made(option: str, make: Callable[..., Any], argument: Any) -> Any:
    """What a class of another package makes of its options. Raises ConfigError where it refuses them."""
    try:
        return make(argument)
    except Exception as error:  # other packages raise errors of any class
        raise ConfigError(f"{option}: {first_line(error)}", "see --help for the options") from error


def is_plateau(scheduler: Any) -> bool:
    return isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)

"""Label what is missing, fit a student, test it; everything is written to the run's folder."""

import itertools
import logging
import time
import warnings
from pathlib import Path
from typing import Any, cast

import lightning
import numpy as np
import yaml
from ase.data import chemical_symbols
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from jointkd.cli.config_tree import choices
from jointkd.commands.build import build_data, build_module, check_labelling, description, join_labels, load_averaged
from jointkd.commands.compile_step import check_compile, compile_step
from jointkd.commands.finetune import with_finetuned
from jointkd.commands.start import Start
from jointkd.data.datamodule import DistillationData
from jointkd.data.splits import hashes
from jointkd.errors import DataError
from jointkd.evaluation.metrics import check_finite, without_stage
from jointkd.ranges import check_integer, check_number
from jointkd.runtime import keep_freed_memory, somebody_watches
from jointkd.structures.bonds import shortest_distances
from jointkd.structures.columns import composition, elements_of
from jointkd.students.repulsion import fit_reach
from jointkd.students.scales import fit_scales
from jointkd.students.student_file import SavedStudent, load_weights
from jointkd.training.callbacks.plain_progress import RunProgressBar
from jointkd.training.callbacks.prediction_record import PredictionRecord
from jointkd.training.callbacks.reference_fit import ReferenceFit
from jointkd.training.checkpoint_files import WholeCheckpoints
from jointkd.training.module import DistillationModule
from jointkd.training.run_folder import write_provenance, write_results
from jointkd.training.run_loggers import log_results, run_logged

log = logging.getLogger(__name__)

SCALE_BATCHES = 8
REFERENCE_TOLERANCE = (
    0.05  # eV/atom, above what students with reference energies of their own differ by (`ReferenceFit`)
)

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # structures lie in memory-mapped files
warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
warnings.filterwarnings("ignore", message=".*isinstance.*LeafSpec.*")
warnings.filterwarnings("ignore", message=".* directory .* exists and is not empty.*")  # nothing in it is lost


def run(config: DictConfig) -> dict[str, float]:
    """Train with a configuration in the folder that Hydra has made. Returns the test metrics."""
    started = time.time()
    config = with_finetuned(config)
    directory = Path(HydraConfig.get().runtime.output_dir)
    check_compile(config)
    described = description(config)
    start = Start.of(config, described.configuration, directory)
    if (metrics := start.finished_metrics()) is not None:
        return metrics
    recipe = HydraConfig.get().runtime.choices["recipe"]
    log.info("recipe %s%s", recipe, "" if recipe in choices("recipe") else ": there is none, so the defaults are taken")
    module = build_module(config)  # this and what follows refuse their options before the data are read
    check_labelling(config, module)
    record, new = PredictionRecord(), start.origin is None
    trainer = make_trainer(config, directory, record, ReferenceFit())
    saved = initial_weights(config, module) if new else None
    data = build_data(config, directory, module)
    start.record_in(module, described.configuration, hashes(data.division))
    store = join_labels(config, module, data)
    if trainer.strategy.root_device.type == "cpu":
        keep_freed_memory()
    module.set_references(data.references.energies if data.references else {})
    log.info(
        "student %s: %d parameters", config.student_name, sum(each.numel() for each in module.student.parameters())
    )
    if new:
        prepare_student(module, data, saved)
    compile_step(config, module, data, trainer)
    if trainer.is_global_zero:
        start.make_room()
        write_provenance(described, directory, data, store, trainer.strategy.root_device)
    with run_logged(trainer.loggers, yaml.safe_load(described.configuration), start.in_place):
        trainer.fit(module, datamodule=data, ckpt_path=start.path, weights_only=True)
        load_best(trainer, module)
        (tested,) = trainer.test(module, datamodule=data, verbose=False)
        check_finite(without_stage(tested))
        if trainer.is_global_zero:
            record.write(directory)
            write_results(described, directory, module, data, store, without_stage(tested), started)
            log_results(trainer.loggers, directory, trainer.global_step)
    return dict(tested)


def load_best(trainer: lightning.Trainer, module: DistillationModule) -> None:
    """Load the best checkpoint of a training that has ended; without one that is whole, the last weights remain."""
    checkpoints: Any = trainer.checkpoint_callback
    if not checkpoints.best_model_path:
        log.warning("no validation ran (%s), so the last weights are tested", why_not_validated(trainer))
        return
    try:
        load_averaged(module, Path(checkpoints.best_model_path))
    except DataError as error:
        log.warning("%s: the last weights are tested instead of the best ones", error.problem)


def why_not_validated(trainer: lightning.Trainer) -> str:
    """Why training has ended without a validation."""
    every = trainer.check_val_every_n_epoch
    if trainer.limit_val_batches == 0:
        return "trainer.limit_val_batches=0"
    if every is not None and trainer.max_epochs is not None and every > trainer.max_epochs >= 0:
        return f"trainer.check_val_every_n_epoch={every} is larger than trainer.max_epochs={trainer.max_epochs}"
    return f"training ended after step {trainer.global_step}, before the first validation"


def initial_weights(config: DictConfig, module: DistillationModule) -> SavedStudent | None:
    """The contents of the file of `student_weights`, whose weights the student gets; None without one.

    Raises ConfigError for weights of another student, and DataError for a file of another kind.
    """
    if config.student_weights is None:
        return None
    return load_weights(module.student, Path(config.student_weights).expanduser())


def prepare_student(module: DistillationModule, data: DistillationData, saved: SavedStudent | None) -> None:
    """Fit the scale factors of a new student to the first training batches, unless it has the weights of a file.

    saved: the contents of that file. The student's repulsion acts below the distances in the training structures.
    """
    if saved is not None:
        check_references(saved, data)
    if getattr(module.student, "repulsion", False):
        student = cast(nn.Module, module.student)
        reach = fit_reach(student, shortest_distances(data.frames["train"]), saved is not None)
        log.info("the repulsion acts at distances below, in Å: %s", reach)
    if saved is None:
        fitted = fit_scales(module.student, itertools.islice(data.train_dataloader(), SCALE_BATCHES))
        if fitted:
            log.info("fitted %d scale factors of the student to %d batches", fitted, SCALE_BATCHES)


def check_references(saved: SavedStudent, data: DistillationData) -> None:
    """Warn where energies of training structures would be others by the reference energies of the weights."""
    own = data.references.energies if data.references else {}
    known = {z: energy for z, energy in saved.reference_energies.items() if z in own}
    frames = data.frames["train"]
    elements = elements_of(frames)
    counts = composition(frames, elements)
    difference = counts @ np.array([known.get(z, own[z]) - own[z] for z in elements]) / counts.sum(1)
    if np.sqrt(np.mean(difference**2)) > REFERENCE_TOLERANCE:
        energies = ", ".join(f"{chemical_symbols[z]}: {energy:.6f}" for z, energy in known.items())
        log.warning(
            "student_weights were trained relative to other reference energies; to go on with those, set "
            "'data.reference_energies={%s}'",
            energies,
        )


def make_trainer(config: DictConfig, directory: Path, *own: lightning.Callback) -> lightning.Trainer:
    """Lightning's trainer with the callbacks and loggers of a configuration, and with callbacks of one's own.

    Raises ConfigError for options that Lightning would take in silence, or refuse only as training begins.
    """
    options = config.trainer
    check_integer("trainer.accumulate_grad_batches", options.get("accumulate_grad_batches", 1))
    if (clipped := options.get("gradient_clip_val")) is not None:
        check_number("trainer.gradient_clip_val", clipped, zero=True)
    if (every := options.get("check_val_every_n_epoch")) is not None:
        check_integer("trainer.check_val_every_n_epoch", every)
    callbacks = [instantiate(callback) for callback in config.callbacks.values()]
    watched = somebody_watches()
    callbacks += [*own, *([RunProgressBar()] if watched else [])]
    loggers = [instantiate(logger) for logger in (config.get("logger") or {}).values()]
    return instantiate(
        config.trainer,
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        logger=loggers,
        default_root_dir=str(directory),
        enable_progress_bar=watched,
    )

"""Label what is missing, fit a student, test it; everything is written to the run's folder."""

import itertools
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import lightning
from ase.data import chemical_symbols
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig

from jointkd.cli.config_tree import choices
from jointkd.commands.build import build, description, join_labels, load_averaged
from jointkd.data.datamodule import DistillationData
from jointkd.errors import ConfigError
from jointkd.evaluation.metrics import without_stage
from jointkd.runtime import keep_freed_memory, somebody_watches
from jointkd.students.scales import fit_scales
from jointkd.students.student_file import SavedStudent, load_weights
from jointkd.training.module import DistillationModule
from jointkd.training.run_folder import keep_metrics, write_provenance, write_results

log = logging.getLogger(__name__)

SCALE_BATCHES = 8
REFERENCE_TOLERANCE = 1e-3  # eV

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # structures lie in memory-mapped files
warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
warnings.filterwarnings("ignore", message=".*isinstance.*LeafSpec.*")


def run(config: DictConfig) -> dict[str, float]:
    """Train with a configuration in the folder that Hydra has made. Returns the test metrics."""
    started = time.time()
    directory = Path(HydraConfig.get().runtime.output_dir)
    recipe = HydraConfig.get().runtime.choices["recipe"]
    log.info("recipe %s%s", recipe, "" if recipe in choices("recipe") else ": there is none, so the defaults are taken")
    module, data = build(config, directory)
    resumed = checkpoint(config, directory)
    if resumed is not None:
        keep_metrics(directory)
    trainer = make_trainer(config, directory)  # refuses its options before hours of labelling
    store = join_labels(config, module, data)
    if trainer.strategy.root_device.type == "cpu":
        keep_freed_memory()
    module.set_references(data.references.energies if data.references else {})
    prepare_student(config, module, data, new=resumed is None)
    described = description(config)
    if trainer.is_global_zero:
        write_provenance(described, directory, data, store)
    trainer.fit(module, datamodule=data, ckpt_path=resumed)
    checkpoints: Any = trainer.checkpoint_callback
    if best := checkpoints.best_model_path:
        load_averaged(module, Path(best))
    else:
        log.warning(
            "no validation ran, so the last weights are tested (trainer.check_val_every_n_epoch is larger than "
            "trainer.max_epochs)"
        )
    (metrics,) = trainer.test(module, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        write_results(described, directory, module, data, store, without_stage(metrics), started)
    return dict(metrics)


def prepare_student(config: DictConfig, module: DistillationModule, data: DistillationData, new: bool) -> None:
    """Load the student's weights, or fit its scale factors to the first training batches, if it starts here."""
    count = sum(parameter.numel() for parameter in module.student.parameters())
    log.info("student %s: %d parameters", config.student_name, count)
    if config.student_weights is not None:
        saved = load_weights(module.student, Path(config.student_weights))
        check_references(saved, data)
    elif new:
        fitted = fit_scales(module.student, itertools.islice(data.train_dataloader(), SCALE_BATCHES))
        if fitted:
            log.info("fitted %d scale factors of the student to %d batches", fitted, SCALE_BATCHES)


def check_references(saved: SavedStudent, data: DistillationData) -> None:
    """Warn where the weights were trained relative to other energies than the data are now taken relative to."""
    own = data.references.energies if data.references else {}
    other = [
        z for z, energy in own.items() if abs(saved.reference_energies.get(z, energy) - energy) > REFERENCE_TOLERANCE
    ]
    if other:
        energies = ", ".join(
            f"{chemical_symbols[z]}: {saved.reference_energies[z]:.6f}" for z in own if z in saved.reference_energies
        )
        log.warning(
            "student_weights were trained relative to other reference energies; to go on with those, set "
            "'data.reference_energies={%s}'",
            energies,
        )


def make_trainer(config: DictConfig, directory: Path) -> lightning.Trainer:
    """Lightning's trainer with the callbacks and loggers of a configuration."""
    callbacks = [instantiate(callback) for callback in config.callbacks.values()]
    loggers = [instantiate(logger) for logger in (config.get("logger") or {}).values()]
    return instantiate(
        config.trainer,
        callbacks=callbacks,
        logger=loggers,
        default_root_dir=str(directory),
        enable_progress_bar=somebody_watches(),
    )


def checkpoint(config: DictConfig, directory: Path) -> str | None:
    """The checkpoint to go on from, if any.

    Raises ConfigError where the one that is asked for is not there. In a sweep that is repeated with ckpt_path=last,
    runs that had not begun begin now, provided that any run below its folder had.
    """
    if config.ckpt_path is None:
        return None
    path = directory / "checkpoints" / "last.ckpt" if config.ckpt_path == "last" else Path(config.ckpt_path)
    if not path.exists():
        if config.ckpt_path == "last" and HydraConfig.get().mode == RunMode.MULTIRUN:
            sweep = Path(HydraConfig.get().sweep.dir)
            if not any(sweep.rglob("checkpoints/last.ckpt")):
                raise ConfigError(
                    f"ckpt_path=last: no run below {sweep} has a checkpoint",
                    "name the folder of the sweep with hydra.sweep.dir=…, or leave ckpt_path out",
                )
            log.info("nothing to go on from in %s: this run begins", directory)
            return None
        raise ConfigError(f"ckpt_path={config.ckpt_path}: there is no {path}", "leave ckpt_path out to begin anew")
    return str(path)

"""The way from a configuration to labels, a trained student and its test metrics."""

import itertools
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
from ase.data import chemical_symbols
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from jointkd.cli.options import choices
from jointkd.data.datamodule import DistillationData
from jointkd.data.row_sampling import check_sampling
from jointkd.data.splits import FILE as SPLIT
from jointkd.errors import ConfigError, DataError
from jointkd.labelling.jobs import dry_run, look_after, make_labels, status_of
from jointkd.labels.maintenance import summary
from jointkd.labels.store import LabelStore
from jointkd.runtime import keep_freed_memory
from jointkd.students.scales import fit_scales
from jointkd.students.student_file import SavedStudent, load_weights
from jointkd.training.module import DistillationModule
from jointkd.training.run_folder import keep_metrics, table, test_metrics, write_provenance, write_results

log = logging.getLogger(__name__)

SCALE_BATCHES = 8
REFERENCE_TOLERANCE = 1e-3  # eV

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # structures lie in memory-mapped files
warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
warnings.filterwarnings("ignore", message=".*isinstance.*LeafSpec.*")


def train(config: DictConfig) -> dict[str, float]:
    """Label, fit and test; everything is written to the run's folder. Returns the test metrics."""
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
    if trainer.is_global_zero:
        write_provenance(config, directory, data, store)
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
        write_results(config, directory, module, data, store, test_metrics(metrics), started)
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


def prepare_only(config: DictConfig) -> None:
    """Prepare the data that a training run with the same configuration would use, neighbours included."""
    directory = Path(HydraConfig.get().runtime.output_dir)
    data = instantiate(config.data)
    data.prepare_run(directory, config.student.cutoff, torch.float32, config.student.get("max_neighbors"))
    data.find_neighbors()
    data.save_split(directory)
    log.info("prepared: %s; the split: %s", data.source.path, directory / SPLIT)


def label_only(config: DictConfig) -> None:
    """Make the labels that a training run with the same configuration would need, or look after those there are."""
    if look_after(config):
        return
    if config.label.status:
        log.info("%s", status_of(config, instantiate(config.data)))
        return
    _, data = build(config, Path(HydraConfig.get().runtime.output_dir))
    if config.label.dry_run:
        log.info("%s", dry_run(config, data))
    else:
        log.info("%s", summary(make_labels(config, data, workers=config.label.workers)))


def evaluate(config: DictConfig) -> dict[str, float]:
    """Test a finished run again, from its own configuration and checkpoint."""
    directory = Path(config.run)
    file = directory / "config.yaml"
    if not file.exists():
        raise DataError(f"run={config.run} holds no finished run", "give the folder of a run, as training printed it")
    original = OmegaConf.load(file)
    assert isinstance(original, DictConfig)
    divided = isinstance(original.data.split, DictConfig)  # else the source says which structure is in which split
    if divided and (directory / SPLIT).exists():  # else it might be tested on what it was trained on
        OmegaConf.update(original, "data.split.path", str(directory / SPLIT))
    path = directory / "checkpoints" / f"{config.checkpoint}.ckpt"
    if not path.exists():
        raise ConfigError(f"checkpoint={config.checkpoint} is not in {directory}", "choose best or last")
    module, data = build(original, directory)
    join_labels(original, module, data)
    load_averaged(module, path)
    trainer = instantiate(
        original.trainer,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=sys.stderr.isatty(),
        devices=1,
        num_nodes=1,
        strategy="auto",
    )
    (metrics,) = trainer.test(module, datamodule=data, verbose=False)
    log.info("%s", table(test_metrics(metrics)))
    return dict(metrics)


def build(config: DictConfig, directory: Path) -> tuple[DistillationModule, DistillationData]:
    """The student with its objective, and the data with its splits; seeds everything."""
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    if config.schedule not in config.schedulers:
        known = ", ".join(config.schedulers)
        raise ConfigError(f"schedule={config.schedule!r} is not known", f"choose one of {known}")
    check_sampling(config.method.rows)
    module = DistillationModule(
        student=instantiate(config.student),
        terms={name: instantiate(term) for name, term in config.method.terms.items()},
        optimizer=instantiate(config.optimizer),
        scheduler=instantiate(config.schedulers[config.schedule]),
    )
    data = instantiate(config.data)
    data.prepare_run(directory, module.student.cutoff, torch.float32, module.student.max_neighbors)
    heaviest = max(data.elements)
    if heaviest > module.student.elements:
        raise ConfigError(
            f"the data have atomic number {heaviest} and the student knows {module.student.elements} elements",
            f"set student.elements={heaviest}",
        )
    return module, data


def join_labels(config: DictConfig, module: DistillationModule, data: DistillationData) -> LabelStore | None:
    """Label what is missing and give the labels to the data; without a teacher, check that none is needed."""
    store = None
    doubted = [name for name, term in module.terms.items() if getattr(term, "spread", None) is not None]
    if doubted and "checkpoints" not in config.teacher:
        raise ConfigError(
            f"method.terms.{doubted[0]}.spread needs teachers that disagree, and teacher={config.teacher.name} is one",
            "leave it null, or take teacher=ensemble",
        )
    if "_target_" in config.teacher:
        labelled = config.label.rows
        if isinstance(labelled, int) and labelled < module.rows:  # said before they are made
            raise ConfigError(
                f"hessian.rows={module.rows} and label.rows={labelled}: training would ask for more than there are",
                "raise label.rows, or lower hessian.rows",
            )
        store = make_labels(config, data, module.needs_atomic_energies)
        data.join(store, module.rows, config.label.eval_rows, config.method.rows)
    elif data.reference == "teacher":
        raise ConfigError("data.reference=teacher needs a teacher", "choose one with teacher=…")
    elif module.needs_teacher:
        raise ConfigError(f"method={config.method.name} needs a teacher", "choose one with teacher=…, or method=none")
    return store


def make_trainer(config: DictConfig, directory: Path) -> lightning.Trainer:
    callbacks = [instantiate(callback) for callback in config.callbacks.values()]
    loggers = [instantiate(logger) for logger in config.logger.values()]
    return instantiate(
        config.trainer,
        callbacks=callbacks,
        logger=loggers,
        default_root_dir=str(directory),
        enable_progress_bar=sys.stderr.isatty(),
    )


def checkpoint(config: DictConfig, directory: Path) -> str | None:
    """The checkpoint to go on from, if any.

    Raises ConfigError where there is none that was asked for; but a sweep that is repeated with ckpt_path=last has runs
    that had not begun, and these begin now, if any run below its folder had.
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


def load_averaged(module: DistillationModule, path: Path) -> None:
    """Load a checkpoint's averaged weights. (`ckpt_path` of a trainer that averages loads the raw ones.)"""
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["state_dict"])

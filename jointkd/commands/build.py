"""From a configuration to plain values: data, teacher, labels, and the student with its objective."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.utils import instantiate
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from jointkd.data.datamodule import DistillationData
from jointkd.data.options import DataOptions
from jointkd.data.row_sampling import check_sampling
from jointkd.errors import ConfigError
from jointkd.evaluation.teacher_errors import Comparison, compare_sample
from jointkd.labelling.jobs import make_labels
from jointkd.labelling.plan import LabelOptions, LabelPlace, LabelPlan
from jointkd.labels.store import LabelStore
from jointkd.ranges import check_seed
from jointkd.reports.dataset import write_report
from jointkd.structures.batch import Precomputed, Structure
from jointkd.structures.columns import with_both_labels
from jointkd.students.base import check_cutoff
from jointkd.teachers.base import Teacher, log_identity
from jointkd.teachers.spec import TARGET, TeacherSpec
from jointkd.training.checkpoint_files import read_checkpoint
from jointkd.training.module import DistillationModule
from jointkd.training.run_folder import RunDescription

log = logging.getLogger(__name__)

LABEL_COMMAND = {"workers", "status", "dry_run", "verify", "merge"}  # options of `label` that no label depends on


def plain(node: Any) -> Any:
    """A node of a configuration as dictionaries and lists, with references resolved."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def data_options(config: DictConfig) -> DataOptions:
    """The data set of a configuration. Raises ConfigError, also for a division that no structures could have."""
    options = plain(config.data)
    built = instantiate(options, _convert_="all")
    if not isinstance(built, DataOptions):
        raise ConfigError(
            f"data._target_={options[TARGET]} must be a subclass of DataOptions",
            "see CONTRIBUTING.md, 'Add a data set'",
        )
    built.division.check()
    return built


def teacher_spec(config: DictConfig) -> TeacherSpec | None:
    """The teacher of a configuration, None for `teacher=none`."""
    options = plain(config.teacher)
    if TARGET not in options:
        return None
    target, python = options.pop(TARGET), options.pop("python", None)
    for private in ("_convert_", "_recursive_"):  # how Hydra would build it
        options.pop(private, None)
    return TeacherSpec(target, options, python)


def teacher_here(config: DictConfig) -> Teacher | None:
    """The teacher of a configuration, built in this process, None for `teacher=none`. Raises ConfigError."""
    spec = teacher_spec(config)
    if spec is None:
        return None
    if spec.python is not None:
        raise ConfigError(
            f"teacher.python={spec.python}: this command calls the teacher in its own process",
            "run it with that interpreter, without teacher.python",
        )
    teacher = spec.build()
    log_identity(teacher.identity)
    return teacher


def label_place(config: DictConfig) -> LabelPlace:
    """Where the labels of a configuration lie. Raises ConfigError without a teacher."""
    teacher = teacher_spec(config)
    if teacher is None:
        raise ConfigError("teacher=none makes no labels", "choose a teacher with teacher=…")
    options = {name: value for name, value in plain(config.label).items() if name not in LABEL_COMMAND}
    return LabelPlace(teacher, LabelOptions(**options), config.data.name)


def label_plan(config: DictConfig, data: DistillationData) -> LabelPlan:
    """The labels that training with this configuration needs."""
    plan = LabelPlan.of(label_place(config), data.frames, adopted=data.reference == "teacher")
    if plan.exhausted:
        log.warning(
            "label.probes=%d is no less than the number of Hessian rows (3N) of %d structures: label.rows=all gives "
            "their whole Hessians",
            plan.options.probes,
            plan.exhausted,
        )
    return plan


def description(config: DictConfig) -> RunDescription:
    """What a run's files say of its configuration."""
    return RunDescription(
        method=config.method.name,
        student=config.student_name,
        teacher=config.teacher.name,
        seed=config.seed,
        weights={name: term.weight for name, term in config.method.terms.items()},
        student_options=plain(config.student),
        configuration=OmegaConf.to_yaml(config, resolve=True),
    )


def build(config: DictConfig, directory: Path) -> tuple[DistillationModule, DistillationData]:
    """The student with its objective, and the data with its splits; seeds everything."""
    module = build_module(config)
    return module, build_data(config, directory, module)


def build_module(config: DictConfig) -> DistillationModule:
    """The student with the terms of its loss and its optimiser; seeds everything. Raises ConfigError."""
    check_seed("seed", config.seed)
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
    module.configure_optimizers()  # refuses its options now, before hours of labelling
    return module


def build_data(config: DictConfig, directory: Path, module: DistillationModule) -> DistillationData:
    """The data with the neighbours that a student needs, and a report on them in the directory where one is asked for.

    Raises ConfigError where the data have elements that the student does not know, or lack stresses that it learns.
    """
    student: Any = module.student
    data = DistillationData(data_options(config))
    prepare_data(data, directory, student.cutoff, student.max_neighbors, getattr(student, "graph_of", None))
    heaviest = max(data.elements)
    if heaviest > student.elements:
        raise ConfigError(
            f"the data have atomic number {heaviest} and the student knows {student.elements} elements",
            f"set student.elements={heaviest}",
        )
    check_stress(module, data)
    return data


def check_stress(module: DistillationModule, data: DistillationData) -> None:
    """Raise ConfigError where stresses are to be learned that the data or the student do not have."""
    there = data.frames["train"][0].stress is not None  # a reader gives all structures of a set one, or none
    if module.needs_stress and not there:
        raise ConfigError(
            f"weights.stress={module.terms['stress'].weight:g}, and the structures of data={data.name} have no stress",
            "name it with data.stress_key, or set weights.stress=0",
        )
    if there and not module.student.conservative:
        raise ConfigError(
            "a student with a force head has no stress", "set student.conservative=true, or data.stress_key=null"
        )
    if there and not module.needs_stress:
        log.info("stresses are tested and not learned: weights.stress=100, for example, learns them")


def prepare_data(
    data: DistillationData,
    directory: Path,
    cutoff: float,
    max_neighbors: int | None,
    graph_of: Callable[[Structure], Precomputed] | None = None,
) -> None:
    """Fix the neighbours within a cutoff (Å), report on the data where that is asked for, and find the references."""
    check_cutoff(cutoff)
    data.prepare_neighbors(cutoff, torch.float32, max_neighbors, graph_of)
    if data.options.report:
        name, frames, set_aside = data.name, data.frames, data.source.manifest["set_aside"]
        if data.options.completes:  # the checks are of reference labels
            name = f"{name}, structures with reference labels"
            frames = {split: with_both_labels(part) for split, part in frames.items()}
        rank_zero_only(write_report)(name, frames, data.find_neighbors(), cutoff, directory, set_aside)
    data.fit_references()


def check_labelling(config: DictConfig, module: DistillationModule) -> None:
    """Raise ConfigError where the options of teacher and labels do not give what a student learns; no data are read."""
    check_spread(config.teacher, module)
    if TARGET not in config.teacher:
        if completing := completed_by_teacher(data_options(config)):
            raise ConfigError(f"{completing} needs a teacher", "choose one with teacher=…")
        if module.needs_teacher:
            raise ConfigError(
                f"method={config.method.name} needs a teacher", "choose one with teacher=…, or method=none"
            )
        return
    options = label_place(config).options
    option, labelled = ("label.probes", options.probes) if options.probes else ("label.rows", options.rows)
    if isinstance(labelled, int) and labelled < module.rows:
        raise ConfigError(
            f"hessian.rows={module.rows} and {option}={labelled}: training would ask for more than there are",
            f"raise {option}, or lower hessian.rows",
        )


def join_labels(config: DictConfig, module: DistillationModule, data: DistillationData) -> LabelStore | None:
    """Label what is missing and give the labels to the data; None without a teacher. See `check_labelling`."""
    if TARGET not in config.teacher:
        return None
    if not module.needs_teacher and not completed_by_teacher(data.options):
        log.info(
            "method=%s learns nothing from teacher=%s: its labels serve the metrics of the test alone, and "
            "teacher=none leaves them out",
            config.method.name,
            config.teacher.name,
        )
    needed_by = f"method={config.method.name}" if module.needs_atomic_energies else None
    store = make_labels(label_plan(config, data), needed_by)
    data.join(store, module.rows, config.label.eval_rows, config.method.rows)
    module.compared = say_how_good(data, store)
    return store


def completed_by_teacher(options: DataOptions) -> str | None:
    """The option by which energies and forces to learn are the teacher's, if there is one."""
    chosen = {"data.reference": options.reference, "data.missing": options.missing}
    named = [f"{name}=teacher" for name, choice in chosen.items() if choice == "teacher"]
    return next(iter([*named, *(["data.unlabelled"] if options.added_files else [])]), None)


def say_how_good(data: DistillationData, store: LabelStore) -> Comparison | None:
    """Log and return the teacher's errors on the training structures; see `compare_sample`."""
    compared = compare_sample(data, store)
    if compared is None:
        return None
    log.info("%s", compared)
    if compared.weak:
        log.warning(
            "the forces of this teacher are far from those of the reference data, so it helps only at the beginning; "
            "with method.trust=constant it may make the student worse than the data alone would: compare with "
            "method=none, or take another teacher"
        )
    return compared


def check_spread(teacher: Mapping[str, Any], module: DistillationModule) -> None:
    """Raises ConfigError for a term that weighs by the disagreement of an ensemble where the teacher is one model."""
    weighed = [name for name, term in module.terms.items() if getattr(term, "spread", None) is not None]
    if weighed and "checkpoints" not in teacher:
        raise ConfigError(
            f"method.terms.{weighed[0]}.spread needs teachers that disagree, and teacher={teacher['name']} is one",
            "leave it null, or take teacher=ensemble",
        )


def load_averaged(module: DistillationModule, path: Path) -> None:
    """Load a checkpoint's averaged weights. (`ckpt_path` of a trainer that averages loads the raw ones.)"""
    module.load_state_dict(read_checkpoint(path)["state_dict"])

"""Test a finished run again, from what its folder records as plain data, or its student on any file."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import lightning
import torch
from omegaconf import DictConfig

from jointkd.commands.build import load_averaged, plain, teacher_spec
from jointkd.commands.run_record import RunRecord, damaged
from jointkd.commands.run_sources import data_of, labels_of, prepared_set
from jointkd.commands.side_by_side import check_asked, side_by_side
from jointkd.errors import ConfigError, DataError, first_line
from jointkd.evaluation.evaluated_split import EvaluatedSplit, references_of
from jointkd.evaluation.file_errors import FileErrors
from jointkd.evaluation.file_evaluation import FileEvaluation, evaluate_file
from jointkd.evaluation.metrics import check_finite, metrics_table, without_stage
from jointkd.evaluation.side_by_side import SideBySide
from jointkd.files.run_files import CHECKPOINTS, CONFIGURATION
from jointkd.files.run_search import instead_of_run
from jointkd.runtime import somebody_watches
from jointkd.students.base import Student
from jointkd.students.student_file import build
from jointkd.training.module import DistillationModule

log = logging.getLogger(__name__)

PATHS = ("run", "structures", "plot", "training")
OF_SPLIT = ("run", "checkpoint", "data", "label", "trust")
OF_FILE = ("run", "structures", "training", "plot", "seed", "hull", "trust")
LABELS_OF_FILE = (  # options of `data`
    *("energy_key", "forces_key", "units", "stress_key", "stress"),
    *("group_key", "format"),
)

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Evaluation:
    """The options of the command. Places are null where they are as the run recorded them."""

    run: str  # folder of a run
    checkpoint: str = "best"  # or last
    data: Mapping[str, Any] = field(default_factory=dict)  # path, source, prepared: where the data are now
    label: Mapping[str, str | None] = field(default_factory=dict)  # path: where the labels are now
    trust: str | list[str] | None = None  # import paths of classes of your own that the run may name


def run(config: DictConfig) -> dict[str, float] | FileErrors | SideBySide:
    """The metrics of a run's test split, or the errors on a file of `structures`, for several side by side.

    Raises DataError, ConfigError.
    """
    options = plain(config)
    if isinstance(options["run"], list) and len(options["run"]) == 1:
        (options["run"],) = options["run"]
    beside_teacher = "teacher" in config and teacher_spec(config) is not None
    several = isinstance(options["run"], list) or "*" in str(options["run"]) or beside_teacher
    check_asked(options, beside_teacher)
    given = [name for name in PATHS if options.get(name) is not None and not isinstance(options[name], list)]
    options |= {name: str(options[name]) for name in given}  # a name may be a number
    if options.get("structures") is None:
        if several:
            raise ConfigError("several are compared on the structures of a file", "give structures=FILE")
        return evaluate_split(Evaluation(**{name: options[name] for name in OF_SPLIT if name in options}))
    if not several:
        return evaluate_file(file_evaluation(options))
    return side_by_side(config, options, file_evaluation({**options, "run": str(options["run"])}))


def file_evaluation(options: dict[str, Any]) -> FileEvaluation:
    """The evaluation of a file."""
    output = options["output"]
    outputs = output if isinstance(output, list) else [] if output is None else [output]
    labels = {name: options["data"][name] for name in LABELS_OF_FILE}
    same = {name: options[name] for name in OF_FILE}
    return FileEvaluation(output=tuple(map(str, outputs)), **same, **labels)


def evaluate_split(options: Evaluation) -> dict[str, float]:
    """Log and return the metrics of a run's test split."""
    if Path(options.run).is_file():
        raise ConfigError(
            f"run={options.run} is a file and has no test split", "give structures=FILE, or a run's folder"
        )
    record = RunRecord.read(Path(options.run))
    module = load_module(record, options)
    with evaluated_split(record, options, module) as split:
        (metrics,) = make_trainer(record).test(module, dataloaders=split.loader(module.student), verbose=False)
    check_finite(without_stage(metrics))
    log.info("%s", metrics_table(without_stage(metrics)))
    return dict(metrics)


def load_module(record: RunRecord, options: Evaluation) -> DistillationModule:
    """The run's student with the weights of a checkpoint. Raises ConfigError, DataError."""
    path = record.folder / CHECKPOINTS / f"{options.checkpoint}.ckpt"
    if not path.exists():
        there = [name for name in ("best", "last") if path.with_stem(name).exists()]
        remedy = f"choose {' or '.join(there)}" if there else instead_of_run(record.folder)
        raise ConfigError(f"checkpoint={options.checkpoint} is not in {record.folder}", remedy)
    place = f"{record.folder / CONFIGURATION}: student"
    student = build(record.part("student"), torch.float32, options.trust or (), place)
    module = DistillationModule(cast(Student, student), terms={}, optimizer=torch.optim.SGD)
    try:
        load_averaged(module, path)
    except (RuntimeError, EOFError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is not a checkpoint of plain weights of this run's student ({first_line(error)})",
            "copy the whole folder of the run again, or give the other one with checkpoint=best or last",
        ) from error
    module.data_references.copy_(module.reference_energies)  # to which the structures will be relative
    return module


@contextmanager
def evaluated_split(record: RunRecord, options: Evaluation, module: DistillationModule) -> Iterator[EvaluatedSplit]:
    """The structures that the run was tested on, from a prepared set, or from their file by way of a temporary one."""
    data = data_of(record, options.data, options.trust)
    store = labels_of(record, data, options.label.get("path"))
    rows = record.part("label").get("eval_rows")
    if not (isinstance(rows, int) or rows == "all"):
        raise damaged(record.folder / CONFIGURATION, f"label.eval_rows={rows}")
    with TemporaryDirectory(prefix="jointkd-") as temporary:
        source = prepared_set(record, data, options.data, Path(temporary))
        made = source.path.is_relative_to(temporary)
        labels = f", labels of {store.path}" if store else ""
        log.info("data %s: %s%s", data.name, "read anew" if made else source.path, labels)
        yield EvaluatedSplit(
            source=source,
            test=record.keys["test"],
            train=record.keys["train"],
            references=references_of(module),
            store=store,
            rows=rows,
            adopted=data.reference == "teacher",
            batch_size=data.batch_size,
            seed=data.seed,
        )


def make_trainer(record: RunRecord) -> lightning.Trainer:
    """A trainer that tests on one device and writes nothing; on the CPU if the run was trained there."""
    recorded: Any = record.part("trainer")
    precision = recorded.get("precision")
    return lightning.Trainer(
        accelerator="cpu" if recorded.get("accelerator") == "cpu" else "auto",
        devices=1,
        precision=precision if precision in (16, 32, 64, "64-true", "32-true", "bf16-mixed", "16-mixed") else None,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=somebody_watches(),
        inference_mode=False,  # forces and Hessian rows are derivatives
        use_distributed_sampler=False,
    )

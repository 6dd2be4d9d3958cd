"""The commands as functions, for scripts and notebooks: `from jointkd import load, train, label, evaluate`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, overload

from hydra.core.hydra_config import HydraConfig

from jointkd.cli.compose import composed, show_log
from jointkd.cli.config_tree import is_group
from jointkd.cli.sweeps import processes
from jointkd.commands import evaluate as evaluate_command
from jointkd.commands import label as label_command
from jointkd.commands import train as train_command
from jointkd.data.options import DataOptions
from jointkd.deploy.loaded import LoadedStudent, load
from jointkd.errors import ConfigError
from jointkd.evaluation.file_errors import FileErrors
from jointkd.evaluation.metrics import without_stage
from jointkd.evaluation.side_by_side import SideBySide
from jointkd.files.run_files import STUDENT
from jointkd.labels.store import LabelStore
from jointkd.teachers.spec import TARGET, TeacherSpec

__all__ = ["FileErrors", "Run", "evaluate", "label", "load", "train"]


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and its metrics on the test split."""

    folder: Path
    metrics: dict[str, float]  # in the units of their names
    trust: frozenset[str] = frozenset()  # the import path of its student, where that is a class of your own

    @property
    def student(self) -> LoadedStudent:
        """The student that was trained."""
        return load(self.folder / STUDENT, self.trust)


def train(
    data: str | DataOptions = "demo",
    teacher: str | TeacherSpec = "demo",
    student: str | Mapping[str, Any] = "painn",
    method: str = "joint",
    options: Mapping[str, Any] | None = None,
) -> Run:
    """Label what is missing, train a student and test it, as `python -m jointkd.train` does.

    data: the name of a data set, or its options, as `FileData(name="mine", path="mine.xyz")`; teacher: a name, or how
    it is built; student: a name, or `{"_target_": "my_module.MyStudent", …}`; method: none, hessian, atomic_energy or
    joint; options: any others by their dotted names, as `{"trainer.max_epochs": 50, "student.width": 64}`.

    Raises UserError (a ConfigError, DataError, LabelMismatch, TeacherError, …) where the commands end with one line.
    """
    with _configured("train", data, teacher, {"student": student, "method": method}, options) as config:
        if processes(config) > 1:
            raise ConfigError(
                "trainer.devices asks for several processes, and a function call is one",
                "train on several devices with python -m jointkd.train",
            )
        metrics = train_command.run(config)
        folder, own = Path(HydraConfig.get().runtime.output_dir), frozenset([config.student[TARGET]])
        return Run(folder, without_stage(metrics), own)


def label(
    data: str | DataOptions = "demo",
    teacher: str | TeacherSpec = "demo",
    options: Mapping[str, Any] | None = None,
) -> LabelStore:
    """The teacher's labels of a data set, made where they are missing, as `python -m jointkd.label` does.

    For data, teacher, options and errors see `train`.
    """
    with _configured("label", data, teacher, {}, options) as config:
        return label_command.label(config)


@overload
def evaluate(
    run: str | Path, checkpoint: str = "best", options: Mapping[str, Any] | None = None, *, structures: None = None
) -> dict[str, float]: ...


@overload
def evaluate(
    run: str | Path, checkpoint: str = "best", options: Mapping[str, Any] | None = None, *, structures: str | Path
) -> FileErrors: ...


@overload
def evaluate(
    run: list[str] | list[Path] | tuple[str | Path, ...],
    checkpoint: str = "best",
    options: Mapping[str, Any] | None = None,
    *,
    structures: str | Path,
) -> SideBySide: ...


def evaluate(
    run: str | Path | list[str] | list[Path] | tuple[str | Path, ...],
    checkpoint: str = "best",
    options: Mapping[str, Any] | None = None,
    *,
    structures: str | Path | None = None,
) -> dict[str, float] | FileErrors | SideBySide:
    """The metrics of a finished run on its test split, by name, or its student's errors on a file. Raises UserError.

    Several runs are compared side by side on a file.

    checkpoint: best or last, of the test split; structures: a file, a folder or a pattern with *, with or without
    labels, for which `run` may be a student's file; options: those of `python -m jointkd.evaluate` by their dotted
    names, as `{"data.path": "mine.xyz", "trust": "my_module.MyStudent"}` or, for structures, `{"output": "pred.xyz"}`.
    """
    show_log()
    runs = [str(each) for each in run] if isinstance(run, list | tuple) else str(run)
    groups = [f"{name}={value}" for name, value in (options or {}).items() if is_group(name)]
    others = {name: value for name, value in (options or {}).items() if not is_group(name)}
    values = {"run": runs, "checkpoint": checkpoint, **others}
    if structures is not None:
        values["structures"] = str(structures)
    with composed("evaluate", groups, {}, values) as config:
        result = evaluate_command.run(config)
    return without_stage(result) if isinstance(result, dict) else result


def _configured(
    command: str,
    data: str | DataOptions,
    teacher: str | TeacherSpec,
    others: Mapping[str, str | Mapping[str, Any]],
    options: Mapping[str, Any] | None,
) -> Any:
    """The configuration of a command with these choices; see `composed`."""
    show_log()
    groups, nodes = [], {}
    for name, choice in {"data": data, "teacher": teacher, **others}.items():
        if isinstance(choice, str):
            groups.append(f"{name}={choice}")
        else:
            nodes[name] = as_node(choice)
    if "data" in nodes:
        groups.append("data=extxyz")  # whose place the node takes
    groups += [f"{name}={value}" for name, value in (options or {}).items() if is_group(name)]
    if isinstance(nodes.get("student"), dict):
        nodes["student_name"] = nodes["student"][TARGET].rpartition(".")[2]
    values = {name: value for name, value in (options or {}).items() if not is_group(name)}
    return composed(command, groups, nodes, values)


def as_node(value: Any) -> Any:
    """A dataclass as the part of a configuration that builds it; other values as they are. Raises ConfigError."""
    if isinstance(value, TeacherSpec):
        return {TARGET: value.target, **value.options, "python": value.python}
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        own = {field.name: as_node(getattr(value, field.name)) for field in fields(value)}
        return {TARGET: f"{kind.__module__}.{kind.__qualname__}", **own}
    if callable(value):
        raise ConfigError(
            f"{value} cannot be written into the configuration of a run", "give FileData, or another kind of data"
        )
    return dict(value) if isinstance(value, Mapping) else value

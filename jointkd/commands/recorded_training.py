"""The training that a run records, to be done again with more structures in another folder."""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from jointkd.cli.config_tree import CONF, flatten, read_yaml
from jointkd.cli.paths import check_files, is_prepared_set
from jointkd.cli.sweeps import processes
from jointkd.commands.build import data_options
from jointkd.commands.run_record import group_of, read_config
from jointkd.errors import ConfigError, DataError
from jointkd.files.run_files import CONFIGURATION, STUDENT, SUMMARY
from jointkd.files.run_search import instead_of_run
from jointkd.students.student_file import registered_students
from jointkd.trust import TARGET, Consent, trusted_names

FOLDER = "${hydra:runtime.output_dir}"  # of a run, in the configuration files
CODE = (TARGET, "calculator")  # entries that name code
PLAIN = ("label", "hessian", "weights")  # groups to which later versions may add options
HERE = {"python": None}  # of a teacher: sampling calls it in this process
REMEDY = "give the folder of a finished run, as training printed it"


def recorded_training(folder: Path, trust: Consent) -> dict[str, Any]:
    """The configuration of a finished run, to be trained again anew, from the same weights if it began with some.

    Its files lie below `${hydra:runtime.output_dir}`. Raises ConfigError and DataError where it cannot be done again
    with unlabelled structures beside its data, and where it names code that neither is jointkd's nor has the user's
    trust.
    """
    if not folder.is_dir():
        raise ConfigError(f"with={folder} is not a folder, and rounds train as a run has been trained", REMEDY)
    for name in (CONFIGURATION, STUDENT, SUMMARY):
        if not (folder / name).exists():
            raise DataError(f"with={folder} holds no finished run: it has no {name}", instead_of_run(folder))
    recorded = read_config(folder / CONFIGURATION)
    for name in (*PLAIN, "data", "teacher", "trainer"):
        group_of(recorded, name, folder / CONFIGURATION)
    check_code(recorded, trust, folder / CONFIGURATION)
    defaults = read_yaml(CONF / "train.yaml")
    changed = {
        **{name: {**defaults[name], **recorded[name]} for name in PLAIN},
        **{"finetune": None, "ckpt_path": None, "overwrite": False},
        "teacher": {**recorded["teacher"], **HERE},
    }
    training = {**recorded, **changed}
    check(training, folder)
    config = OmegaConf.create(training)
    for place, value in places():
        if OmegaConf.select(config, place) is not None:
            OmegaConf.update(config, place, value)
    return dict(OmegaConf.to_container(config))  # type: ignore[arg-type]


def recorded_groups(folder: Path, names: Iterable[str], trust: Consent) -> dict[str, dict[str, Any]]:
    """Some groups of a run's configuration, a teacher for this process. Raises DataError; see `recorded_training`."""
    file = folder / CONFIGURATION
    recorded = read_config(file)
    groups = {name: group_of(recorded, name, file) for name in names}
    check_code(groups, trust, file)
    return {name: {**group, **HERE} if name == "teacher" else group for name, group in groups.items()}


def with_unlabelled(recorded: dict[str, Any], files: list[Path]) -> dict[str, Any]:
    """A recorded configuration with more files in data.unlabelled."""
    before = recorded["data"].get("unlabelled") or []
    before = before if isinstance(before, list) else [before]
    return {**recorded, "data": {**recorded["data"], "unlabelled": [*before, *map(str, files)]}}


def check(training: dict[str, Any], folder: Path) -> None:
    """Raises ConfigError and DataError where a run cannot be trained again with unlabelled structures."""
    config = OmegaConf.create(training)
    if TARGET not in config.teacher:
        raise ConfigError(f"with={folder} was trained without a teacher, which rounds need", "give a run with one")
    if processes(config) > 1:
        raise ConfigError(
            f"with={folder} was trained on several devices, and rounds train in one process",
            "sample without rounds, and train on data.unlabelled=FILE with python -m jointkd.train",
        )
    if is_prepared_set(config.data.prepared):
        raise ConfigError(
            f"with={folder} was trained with data.prepared={config.data.prepared}, to which nothing can be added",
            "train it with the folder that contains this prepared set",
        )
    check_files(config)
    data_options(OmegaConf.create(with_unlabelled(training, [folder])))  # refuses what excludes each other


def check_code(recorded: Any, trust: Consent, place: Path) -> None:
    """Raise DataError for a configuration that names code which neither jointkd's own do nor the user trusts."""
    known = own_code() | registered_students() | trusted_names(trust)
    for name in named_code(recorded):
        if name not in known:
            raise DataError(
                f"{place} names {name}, which is not code that jointkd's own options name: it would run",
                f"if you trust that code, add trust={name}",
            )


@cache
def own_code() -> frozenset[str]:
    """The import paths in jointkd's own configuration files."""
    return frozenset(name for file in CONF.rglob("*.yaml") for name in named_code(read_yaml(file)))


def named_code(node: Any) -> Iterator[str]:
    """The import paths in a configuration."""
    if isinstance(node, dict):
        yield from (str(node[entry]) for entry in CODE if node.get(entry) is not None)
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from named_code(child)


def places() -> Iterator[tuple[str, str]]:
    """The options that name files of a run, with their values in jointkd's own configuration files."""
    options = {"callbacks": read_yaml(CONF / "train.yaml")["callbacks"]}
    for file in (CONF / "logger").glob("*.yaml"):
        options.setdefault("logger", {}).update(read_yaml(file))
    return ((name, value) for name, value in flatten(options).items() if FOLDER in str(value) and type(value) is str)

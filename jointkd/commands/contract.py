"""Checks a student, a teacher, a data set or the terms of a loss against their contract; prints a line per property."""

import importlib
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf

from jointkd.cli import resolvers
from jointkd.cli.command import readable_errors
from jointkd.cli.config_tree import CONF, choices, flatten
from jointkd.cli.options import check_values
from jointkd.errors import ConfigError, UserError, did_you_mean, first_line

if TYPE_CHECKING:
    from jointkd.contracts.properties import Contract

GROUPS = {"student": "student", "teacher": "teacher", "reader": "data", "term": "method"}
ALIAS = "checked"  # the name of a configuration that is not in conf/, while it is composed
DEFAULTS: dict[str, dict[str, Any]] = {  # of a class that is given by its import path
    "student": {},
    "teacher": {"name": ALIAS, "dtype": "float64"},
    "reader": {"name": ALIAS},
    "term": {"weight": 1.0, "norm": "l2"},
}
SMALL = {"width": 16, "layers": 2, "blocks": 2, "radial": 6, "spherical": 4, "cutoff": 4.0}  # of a student's file
HELP = """Check a student, teacher, reader or term of your own against its contract.

It prints a line per property, and exits with status 1 if one fails.

  python -m jointkd.contract student=my_module.MyStudent student.width=32
  python -m jointkd.contract student=pairs.yaml
  python -m jointkd.contract teacher=my_module.Morse teacher.depth=4
  python -m jointkd.contract reader=my_module.MyData reader.path=mine.npz
  python -m jointkd.contract term=my_module.NetForce term.norm=l2

Give one of these, as the import path of a class, as a configuration file, or by name:
"""

resolvers.register()


@dataclass(frozen=True)
class Subject:
    """What the command line asks to be checked."""

    kind: str  # student, teacher, reader or term
    value: str  # an import path, a configuration file, or a name
    options: dict[str, str]  # what was given as kind.name=value, as it was written

    @property
    def group(self) -> str:
        """The group of the configuration that holds such objects."""
        return GROUPS[self.kind]

    def __str__(self) -> str:
        return f"{self.kind}={self.value}"


def main() -> None:
    """Check what the command line names; exits with status 1 where a property fails, or for a user's mistake."""
    arguments = sys.argv[1:]
    if not arguments or {"-h", "--help"} & {*arguments}:
        print(HELP + "\n".join(f"  {kind + '=':<9}{' | '.join(choices(group))}" for kind, group in GROUPS.items()))
        print(f"\nA student of a file gets {words(SMALL)}, where it has these options")
        print("and you do not give them. docs/contracts.md says what is checked, and how to do it under pytest.")
        return
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    with readable_errors():
        passed = check(parse(arguments))
    raise SystemExit(0 if passed else 1)


def check(subject: Subject) -> bool:
    """Print the outcome of every property; whether none failed. Raises ConfigError and what building raises."""
    config = compose(subject)
    from jointkd.contracts.properties import DOES_NOT_APPLY, FAILED, PASSED, outcomes  # imports torch

    counts: Counter[str] = Counter()
    for title, contract in CONTRACTS[subject.kind](subject, config):
        print(title, flush=True)
        for outcome in outcomes(contract):
            counts[outcome.verdict] += 1
            print(f"  {outcome}", flush=True)
    print(", ".join(f"{counts[verdict]} {verdict}" for verdict in (PASSED, FAILED, DOES_NOT_APPLY)))
    return not counts[FAILED]


def parse(arguments: list[str]) -> Subject:
    """The subject and its options. Raises ConfigError for a command line that names none, or more than one."""
    chosen: dict[str, str] = {}
    options: dict[str, str] = {}
    for argument in arguments:
        try:
            override = OverridesParser.create().parse_override(argument)
        except HydraException as error:
            raise ConfigError(first_line(error), "write options as name=value") from error
        key, value = override.key_or_group, argument.partition("=")[2]
        if override.is_delete() or override.is_sweep_override():
            raise ConfigError(f"{argument} must be one value", "write options as name=value")
        if (kind := key.partition(".")[0]) not in GROUPS:
            remedy = f"give one of {', '.join(GROUPS)}, and its options as KIND.name=value"
            raise ConfigError(f"{argument} names nothing that has a contract", did_you_mean(kind, GROUPS) + remedy)
        (options if "." in key else chosen)[key] = value
    if len(chosen) != 1:
        named = " and ".join(f"{kind}={value}" for kind, value in chosen.items()) or "no object"
        raise ConfigError(f"{named}: one object is checked at a time", f"give exactly one of {', '.join(GROUPS)}")
    ((kind, value),) = chosen.items()
    foreign = next((key for key in options if key.partition(".")[0] != kind), None)
    if foreign is not None:
        raise ConfigError(f"{foreign} is not an option of {kind}={value}", f"give its options as {kind}.name=value")
    return Subject(kind, value, {key.partition(".")[2]: value for key, value in options.items()})


def compose(subject: Subject) -> DictConfig:
    """The configuration of training with the subject in its group. Raises ConfigError for what does not exist."""
    group = subject.group
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / group / f"{ALIAS}.yaml"
        file.parent.mkdir()
        is_class = copy_configuration(subject, file)
        sizes = SMALL if subject.kind == "student" and not is_class else {}
        options = {name: value for name, value in sizes.items() if name in OmegaConf.load(file)} | subject.options
        overrides = [f"{group}={ALIAS}", "recipe=none", f"hydra.searchpath=[file://{folder}]"]
        overrides += [f"++{group}.{name}={value}" for name, value in options.items()]
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose("train", overrides)
    for path, value in flatten(OmegaConf.to_container(config[group])).items():
        if value == MISSING:
            raise ConfigError(f"{subject.kind}.{path} is not set", f"give {subject.kind}.{path}=…")
        if path.rpartition(".")[2] == "_target_":
            check_importable(value, subject)
    check_values(OmegaConf.create({subject.kind: OmegaConf.to_container(config[group], resolve=True)}))
    return config


def copy_configuration(subject: Subject, file: Path) -> bool:
    """Write the configuration of a subject to a file; whether the subject is a class. Raises ConfigError.

    Also one of conf/ is copied: under its own name others could change it, such as teacher/of_data.
    """
    value, known = subject.value, choices(subject.group)
    if value in known:
        shutil.copy(CONF / subject.group / f"{value}.yaml", file)
    elif value.endswith((".yaml", ".yml")):
        if not Path(value).is_file():
            raise ConfigError(f"{subject} does not exist", "check the path (relative ones start where you are)")
        shutil.copy(value, file)
    elif "." in value:
        check_importable(value, subject)
        OmegaConf.save({"_target_": value, **DEFAULTS[subject.kind]}, file)
        return True
    else:
        remedy = f"give the import path of a class, a .yaml file, or one of {', '.join(known)}"
        raise ConfigError(f"there is no {subject}", did_you_mean(value, known) + remedy)
    return False


def check_importable(target: str, subject: Subject) -> None:
    """Raises ConfigError where an import path leads to nothing, or its module raises an error."""
    module, _, name = target.rpartition(".")
    try:
        getattr(importlib.import_module(module), name)
    except UserError:
        raise
    except Exception as error:  # a user's module raises what it likes
        raise ConfigError(
            f"{subject}: {target} cannot be imported ({type(error).__name__}: {first_line(error)})",
            "give the import path of a class; modules are searched in this folder and on PYTHONPATH",
        ) from error


def built(subject: Subject, make: Callable[[], Any]) -> Any:
    """What `make` builds. Raises ConfigError where the class does not take its options."""
    try:
        return make()
    except UserError:
        raise
    except Exception as error:  # a user's class raises what it likes
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from error
        raise ConfigError(
            f"{subject} cannot be built ({type(cause).__name__}: {first_line(cause)})",
            f"give its arguments as {subject.kind}.name=value",
        ) from error


def students(subject: Subject, config: DictConfig) -> Iterator[tuple[str, type["Contract"]]]:
    """The contract of a student."""
    import torch

    from jointkd.contracts.students import StudentContract
    from jointkd.students.student_file import build

    options: Any = OmegaConf.to_container(config.student, resolve=True)
    student = built(subject, lambda: build(options, torch.float64, options["_target_"]))
    missing = [name for name in ("cutoff", "elements", "max_neighbors", "conservative") if not hasattr(student, name)]
    if missing:
        raise ConfigError(f"{subject} has no {' and no '.join(missing)}", "see Student in jointkd/students/base.py")
    count = sum(parameter.numel() for parameter in student.parameters())
    arguments = {name: value for name, value in options.items() if name != "_target_"}
    yield f"{subject} ({count} parameters; {words(arguments)})", with_attributes(StudentContract, config=options)


def teachers(subject: Subject, config: DictConfig) -> Iterator[tuple[str, type["Contract"]]]:
    """The contract of a teacher."""
    from jointkd.commands.build import teacher_spec
    from jointkd.contracts.teachers import TeacherContract

    spec = teacher_spec(config)
    if spec is None:
        raise ConfigError(f"{subject} makes no labels", "give a teacher")
    if spec.python is not None:
        raise ConfigError(
            f"teacher.python={spec.python}: a contract is checked in the environment of its teacher",
            f"run {spec.python} -m jointkd.contract with the other options",
        )
    identity = built(subject, lambda: spec.build().identity)
    yield f"{subject} ({identity.name}, {identity.dtype})", with_attributes(TeacherContract, spec=spec)


def readers(subject: Subject, config: DictConfig) -> Iterator[tuple[str, type["Contract"]]]:
    """The contract of a data set."""
    from jointkd.commands.build import data_options
    from jointkd.contracts.readers import ReaderContract

    options = built(subject, lambda: data_options(config))
    built(subject, lambda: next(iter(options.reader()()[0]), None))  # a missing file is one line, not one per property
    yield f"{subject} ({options.name})", with_attributes(ReaderContract, options=options)


def terms(subject: Subject, config: DictConfig) -> Iterator[tuple[str, type["Contract"]]]:
    """The contract of a term, or of each term of a method."""
    from jointkd.contracts.terms import TermContract
    from jointkd.training.loss import Term

    for name, options in config.method.get("terms", {subject.value: config.method}).items():
        term = built(subject, partial(hydra.utils.instantiate, options))
        if not isinstance(term, Term):
            kind = type(term).__name__
            raise ConfigError(f"{subject} is a {kind}, and must be a Term", "derive it from jointkd.training.loss.Term")
        yield f"{subject} ({name}, {type(term).__name__})", with_attributes(TermContract, term=term)


CONTRACTS = {"student": students, "teacher": teachers, "reader": readers, "term": terms}


def with_attributes(contract: type["Contract"], **attributes: Any) -> type["Contract"]:
    """A contract of one object."""
    return type(contract.__name__, (contract,), attributes)


def words(options: dict[str, Any]) -> str:
    """Options as a user would write them."""
    return " ".join(f"{name}={'null' if value is None else value}" for name, value in options.items())

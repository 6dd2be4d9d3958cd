"""What all commands share: Hydra configuration, one readable line for a user's mistake, exit status 1."""

import difflib
import re
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from jointkd.errors import ConfigError, UserError

PACKAGE = Path(__file__).parent
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())


def run_folder(parent: str, ckpt_path: str | None) -> str:
    """The folder of a run under `parent`: a new one, or with ckpt_path=last the newest that has a checkpoint."""
    if ckpt_path == "last":
        found = sorted(Path(parent).glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
        if found:
            return found[-1].parent.parent.name
    return datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


OmegaConf.register_new_resolver("package_file", lambda name: str(PACKAGE / name), replace=True)
OmegaConf.register_new_resolver("file_stem", lambda path: Path(path).name.split(".")[0], replace=True)
OmegaConf.register_new_resolver("run_folder", run_folder, replace=True, use_cache=True)


def command(name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make `main()` of a function of the configuration `conf/<name>.yaml`."""

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)
        def job(config: DictConfig) -> None:
            with readable_errors():
                function(config)

        def main() -> None:
            with readable_errors():
                check_overrides(name, [argument for argument in sys.argv[1:] if not argument.startswith("-")])
            job()

        return main

    return decorate


class readable_errors:
    """Print a UserError as one line on stderr and leave with exit status 1."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        cause = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        if cause is None and isinstance(error, OmegaConfBaseException):
            cause = ConfigError(str(error).splitlines()[0], "see --help for the options")
        if cause is not None:
            print(cause, file=sys.stderr)
            raise SystemExit(1)


def check_overrides(name: str, arguments: list[str]) -> None:
    """Raises ConfigError that names the nearest option for an override that the configuration does not have."""
    try:
        overrides = [OverridesParser.create().parse_override(argument) for argument in arguments]
    except HydraException as error:
        raise ConfigError(str(error).splitlines()[0], "write options as name=value") from error
    for override in overrides:
        group = CONF / override.key_or_group
        if group.is_dir():
            for choice in choices(override):
                check_choice(override.key_or_group, str(choice))
    singles = [single(override) for override in overrides if not override.is_hydra_override()]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            hydra.compose(name, singles)
        except (HydraException, OmegaConfBaseException) as error:
            raise explain(name, overrides, error) from error


def choices(override: Override) -> list[Any]:
    """The values of an override, of which a sweep has several."""
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.value()]


def single(override: Override) -> str:
    """An override with the first of its values, written as one."""
    line = override.input_line or ""
    if override.is_sweep_override():
        return f"{line.split('=', 1)[0]}={next(iter(override.sweep_string_iterator()))}"
    return line


def check_choice(group: str, choice: str) -> None:
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml") if not path.stem.startswith("_"))
    if choice not in names and choice != "None":
        raise ConfigError(f"there is no {group}={choice}", f"{nearest(choice, names)}choose one of {', '.join(names)}")


def nearest(word: str, known: list[str]) -> str:
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {found[0]}? " if found else ""


def explain(name: str, overrides: list[Override], error: Exception) -> ConfigError:
    """Which override Hydra could not apply, and what was probably meant."""
    groups = [single(override) for override in overrides if (CONF / override.key_or_group).is_dir()]
    full = hydra.compose(name, groups)
    for override in overrides:
        key = override.key_or_group
        if not override.is_hydra_override() and not override.is_add() and not exists(full, key):
            *parents, last = key.split(".")
            parent = ".".join(parents)
            siblings = [str(entry) for entry in (node(full, parent) or {})]
            near = difflib.get_close_matches(key, paths(full), n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}? " if near else ""
            here = f"{parent or 'the top level'} has {', '.join(siblings)}" if siblings else "see --help"
            return ConfigError(f"there is no option {key}", hint + here)
    return ConfigError(re.sub(r"\s+", " ", str(error)), "see --help for the options")


def node(config: Any, path: str) -> Any:
    for part in filter(None, path.split(".")):
        config = config._get_node(part) if isinstance(config, DictConfig) else None
    return config


def exists(config: DictConfig, path: str) -> bool:
    return node(config, path) is not None


def paths(config: DictConfig, prefix: str = "") -> list[str]:
    """Every option of a configuration, written with dots."""
    found = []
    for key in config:
        path = f"{prefix}{key}"
        found.append(path)
        child = config._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
            found += paths(child, f"{path}.")
    return found

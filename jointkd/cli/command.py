"""What all commands share: Hydra configuration, one readable line for a user's mistake, exit status 1."""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue

from jointkd.cli.options import CONF, PACKAGE, check_overrides, check_values, groups
from jointkd.cli.sweeps import alone
from jointkd.errors import NO_SPACE, ConfigError, StorageError, UserError, behind

PRINTING = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i"}  # and nothing else is done


def run_folder(parent: str, ckpt_path: str | None) -> str:
    """The folder of a run under `parent`: a new one, or with ckpt_path=last the newest that has a checkpoint.

    The tasks of a step of a SLURM job share one.
    """
    if ckpt_path == "last":
        found = sorted(Path(parent).glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
        if found:
            return found[-1].parent.parent.name
    if int(os.environ.get("SLURM_NTASKS", 1)) > 1 and "SLURM_STEP_ID" in os.environ:
        return f"slurm-{os.environ['SLURM_JOB_ID']}.{os.environ['SLURM_STEP_ID']}"
    return datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def refuse(problem: str, remedy: str) -> None:
    """What stands in a configuration where a value is missing for a reason. Raises ConfigError."""
    raise ConfigError(problem, remedy)


OmegaConf.register_new_resolver("refuse", refuse, replace=True)
OmegaConf.register_new_resolver("package_file", lambda name: str(PACKAGE / name), replace=True)
OmegaConf.register_new_resolver("file_stem", lambda path: Path(path).name.split(".")[0], replace=True)
OmegaConf.register_new_resolver("run_folder", run_folder, replace=True, use_cache=True)
OmegaConf.register_new_resolver("groups", groups, replace=True)


def command(name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make `main()` of a function of the configuration `conf/<name>.yaml`."""

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)
        def job(config: DictConfig) -> None:
            sweep = HydraConfig.get().mode == RunMode.MULTIRUN
            with readable_errors(leave=not sweep):  # Hydra goes on with a sweep's other jobs, and then raises
                check_values(config)
                with alone(config) if sweep else nullcontext():
                    function(config)

        def main() -> None:
            os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra lets errors through instead of printing them
            arguments = sys.argv[1:]
            if PRINTING & {word.partition("=")[0] for word in arguments}:
                signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever reads may leave early, as `| head` does
            with readable_errors():
                if {word for word in arguments if word.startswith("-")} <= {"-m", "--multirun"}:
                    check_overrides(name, [word for word in arguments if not word.startswith("-")])
                job()

        return main

    return decorate


@contextmanager
def readable_errors(leave: bool = True) -> Iterator[None]:
    """Print a user's mistake as one line on stderr and leave with exit status 1, or raise it as a UserError."""
    try:
        yield
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from what was saved", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        mistake = as_mistake(error)
        if mistake is None:
            raise
        here = os.fstat(2)[1:3]  # which file stderr is: a launcher's process may share this one, or have its own
        if vars(mistake).get("told") != here:
            print(mistake, file=sys.stderr)
        mistake.told = here  # type: ignore[attr-defined]
        if leave:
            raise SystemExit(1) from error
        raise mistake from error


def as_mistake(error: Exception) -> UserError | None:
    """The user's mistake behind an error, or None for an error that is ours."""
    mistake = behind(error, UserError)
    if mistake is not None:
        return mistake
    if isinstance(error, InterpolationResolutionError) and isinstance(
        error.__context__, InterpolationResolutionError | UserError
    ):
        return as_mistake(error.__context__)  # what a resolver raised; OmegaConf names no cause
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        where = error.filename or "the run's folder"
        return StorageError(
            f"{where} cannot be written ({error.strerror})", "free some space, then go on from what is there"
        )
    if isinstance(error, PermissionError | NotADirectoryError):
        return StorageError(str(error), "see to its permissions, or name another place")
    if isinstance(error, InstantiationException):
        # What we build raises a UserError for a bad value; what others wrote raises what it likes.
        found = re.search(r"target '(?P<target>[^']*)'.*full_key: (?P<option>\S+)", str(error), re.DOTALL)
        if found is None or found["target"].startswith("jointkd."):
            return None
        return ConfigError(f"{found['option']}: {error.__cause__}", "see --help for the options")
    if isinstance(error, HydraException | InterpolationResolutionError | MissingMandatoryValue):
        return ConfigError(str(error), "see --help for the options")
    if type(error).__name__ == "MisconfigurationException":  # by name: lightning takes seconds to import
        return ConfigError(str(error), "see --help for the options")
    return None

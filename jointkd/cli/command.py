"""The entry point of all commands: Hydra's configuration, and exit status 1 with one line for a user's mistake."""

import importlib
import io
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

try:
    import hydra
except ModuleNotFoundError as error:  # where students are only run (docs/engines.md)
    raise SystemExit(
        "MissingExtra: a command needs all packages of jointkd, and hydra-core is not installed; "
        "install jointkd without --no-deps"
    ) from error
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue

from jointkd.cli import resolvers
from jointkd.cli.arguments import as_hydra_reads, parse
from jointkd.cli.config_tree import CONF
from jointkd.cli.flags import check_flags
from jointkd.cli.help import help_text
from jointkd.cli.jobs import LIST, check_sweep, list_jobs
from jointkd.cli.options import check_overrides, check_values, known_options
from jointkd.cli.paths import check_files
from jointkd.cli.sweeps import as_single_run
from jointkd.cli.unused import describe_unused
from jointkd.errors import ConfigError, UserError, user_error
from jointkd.files.folders import removed_if_unused

HELP, CONFIGURATION, SWEEP = {"--help", "-h"}, {"--cfg", "-c"}, {"-m", "--multirun"}
PRINTING = HELP | CONFIGURATION | {"--hydra-help", "--info", "-i"}  # flags that only print

OF_MACHINE = re.compile("accelerator|devices|backend", re.IGNORECASE)  # in messages of lightning
HINT = "see --help for the options"

log = logging.getLogger(__name__)
resolvers.register()


def command(name: str) -> Callable[[], None]:
    """The `main()` of `python -m jointkd.<name>`.

    It composes `conf/<name>.yaml` with the options of the command line and passes it to `jointkd.commands.<name>.run`.
    """

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)
    def job(config: DictConfig) -> None:
        sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        folder = Path(HydraConfig.get().runtime.output_dir)
        with (
            readable_errors(leave=not sweep),
            removed_if_unused(folder),
        ):  # Hydra runs the other jobs of a sweep, and raises then
            check_files(config)
            check_values(config)
            for line in describe_unused(config, HydraConfig.get().overrides.task):
                log.warning("%s", line)
            with as_single_run(config) if sweep else nullcontext():
                importlib.import_module(f"jointkd.commands.{name}").run(config)  # here: `--help` imports no torch

    def main() -> None:
        os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises errors instead of printing them
        print_anything()
        if PRINTING & {word.partition("=")[0] for word in sys.argv[1:]} or LIST in sys.argv:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader such as `| head` may exit early
        with readable_errors():
            sys.argv[1:] = arguments = as_hydra_reads(sys.argv[1:])  # which Hydra reads again
            text = printed(name, arguments)
            if text is None:
                job()
            else:
                print(text)

    return main


def printed(name: str, arguments: list[str]) -> str | None:
    """What a command only prints, its help or the jobs of a sweep, or None after checks of its options."""
    flags = {word.partition("=")[0] for word in arguments if word.startswith("-")}
    options = [word for word in arguments if not word.startswith("-") and word != LIST]
    if flags & HELP:
        for option in options:
            parse(option)
        return help_text(name, options)
    if flags - PRINTING - SWEEP:
        check_flags(arguments, known_options(name))
    if LIST in arguments:
        check_overrides(name, options)
        return list_jobs(name, options)
    if flags & CONFIGURATION and flags & SWEEP:
        raise ConfigError(
            "--cfg prints the configuration of one job, and -m is for several",
            f"leave out -m, or list them with {LIST}",
        )
    if flags <= SWEEP:
        check_overrides(name, options)
        if not flags:
            check_sweep(name, options)
    return None


def print_anything() -> None:
    """Replace letters that the encoding of the terminal lacks, such as Å, instead of failing as they are printed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def readable_errors(leave: bool = True) -> Iterator[None]:
    """Print a user's mistake as one line on stderr and leave with exit status 1, or raise it as a UserError."""
    try:
        yield
    except KeyboardInterrupt:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C, while this process ends
        print("\nstopped; what was saved is kept", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        mistake = as_mistake(error)
        if mistake is None:
            raise
        stderr = os.fstat(2)[1:3]  # device and inode: the process of a launcher may share the file, or not
        if mistake.printed_to != stderr:
            print(mistake, file=sys.stderr)
        mistake.printed_to = stderr
        if leave:
            raise SystemExit(1) from error
        raise mistake from error


def as_mistake(error: Exception) -> UserError | None:
    """The user's mistake that caused an error, or None for an error in jointkd."""
    mistake = user_error(error)
    if mistake is not None:
        return mistake
    if isinstance(error, InterpolationResolutionError) and isinstance(
        error.__context__, InterpolationResolutionError | UserError
    ):
        return as_mistake(error.__context__)  # raised by a resolver, for which OmegaConf sets no cause
    if isinstance(error, InstantiationException):
        # Classes of jointkd raise a UserError for an invalid value; other classes raise errors of any kind.
        match = re.search(r"target '(?P<target>[^']*)'.*full_key: (?P<option>\S+)", str(error), re.DOTALL)
        if match is None or match["target"].startswith("jointkd."):
            return None
        of_machine = match["option"] == "trainer" and OF_MACHINE.search(str(error.__cause__))
        remedy = (
            "leave out trainer.accelerator and trainer.devices, or give what this machine has" if of_machine else HINT
        )
        return ConfigError(f"{match['option']}: {error.__cause__}", remedy)
    if isinstance(error, HydraException | InterpolationResolutionError | MissingMandatoryValue):
        return ConfigError(str(error), HINT)
    if type(error).__name__ == "MisconfigurationException":  # by name: lightning takes seconds to import
        return ConfigError(str(error), HINT)
    return None

"""Jobs of a sweep: checks that their launcher is installed, and lets DDP start a job's processes as a single run."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from jointkd.errors import ConfigError, MissingExtra

LAUNCHERS = {  # and the packages that they need
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "submitit_slurm": "hydra_plugins.hydra_submitit_launcher",
    "slurm": "hydra_plugins.hydra_submitit_launcher",
}
PROCESS_GROUP = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")


def check_launcher(name: str) -> None:
    """Raise MissingExtra if hydra/launcher=name needs a package that is not installed."""
    package = LAUNCHERS.get(name)
    if package and not installed(package):
        raise MissingExtra(f"hydra/launcher={name} needs {package}", "pip install 'jointkd[sweep]'")


def installed(package: str) -> bool:
    """Whether a package can be imported; it is not imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


@contextmanager
def as_single_run(config: DictConfig) -> Iterator[None]:
    """A context in which a job of a sweep has the command line and the environment of a single run.

    Lightning's DDP starts the other processes of a machine with the command line of the first (`sys.argv`) and
    `hydra.run.dir`, and recognises by the environment whether it has already done so. Raises ConfigError under a
    launcher that runs jobs in a program of its own.
    """
    if processes(config) > 1 and "SLURM_NTASKS" not in os.environ:
        main = getattr(sys.modules["__main__"].__spec__, "name", "")
        if not main.startswith("jointkd."):
            raise ConfigError(
                f"trainer.devices={config.trainer.devices} is not possible with this launcher of a sweep",
                "leave hydra/launcher out, or set trainer.devices=1 (in SLURM: hydra.launcher.tasks_per_node)",
            )
    hydra: Any = HydraConfig.get()
    arguments, group = sys.argv, {name: os.environ.get(name) for name in PROCESS_GROUP}
    sys.argv = [arguments[0], *hydra.overrides.task]
    with read_write(hydra), open_dict(hydra):
        hydra.run.dir = hydra.runtime.output_dir
    try:
        yield
    finally:
        sys.argv = arguments
        leave_process_group(group)


def processes(config: DictConfig) -> int:
    """The least number of processes that the trainer needs on this machine; 1 for commands without a trainer."""
    devices = OmegaConf.select(config, "trainer.devices", default=1)
    strategy = str(OmegaConf.select(config, "trainer.strategy", default="auto"))
    if not strategy.startswith("ddp"):
        return 1
    return devices if isinstance(devices, int) and devices >= 0 else 2


def leave_process_group(environment: dict[str, str | None]) -> None:
    """Close the process group of a finished run and restore the environment, so that the next run starts its own."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for name, value in environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value

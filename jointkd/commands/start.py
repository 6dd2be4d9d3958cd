"""Where a training begins: anew in a folder of its own, or at the checkpoint of a run that goes on."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from jointkd.errors import ConfigError
from jointkd.files.atomic import remove_leftovers
from jointkd.files.run_files import CHECKPOINTS, SUMMARY
from jointkd.training.checkpoint_files import exists
from jointkd.training.module import DistillationModule
from jointkd.training.resume import Origin, RunRecord
from jointkd.training.run_folder import check_unused, clear, keep_earlier

log = logging.getLogger(__name__)

OTHER_FOLDER = "choose another folder with hydra.run.dir=… (of a sweep: hydra.sweep.dir=…)"


@dataclass(frozen=True)
class Start:
    """Where a training begins."""

    directory: Path  # of the run
    origin: Origin | None  # the checkpoint that it goes on from; None: it begins anew
    changed: list[str]  # the options that differ from those of the checkpoint's run, as text
    replaces: bool  # the run that the folder may hold

    @classmethod
    def of(cls, config: DictConfig, configuration: str, directory: Path) -> "Start":
        """Find the checkpoint, and compare its options with a configuration (as YAML) that is to go on from it.

        Raises ConfigError and DataError, also where the folder holds another run.
        """
        path = find_checkpoint(config, directory)
        origin = None if path is None else Origin.of(path)
        changed = [] if origin is None else origin.check_options(configuration, config.trainer.max_epochs)
        start = cls(directory, origin, changed, config.overwrite)
        if not (start.in_place or start.replaces) and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            check_unused(directory, OTHER_FOLDER)
        return start

    @property
    def path(self) -> Path | None:
        """The checkpoint."""
        return None if self.origin is None else self.origin.path

    @property
    def in_place(self) -> bool:
        """Whether a run goes on in its own folder."""
        return self.path is not None and self.path.absolute().parent.parent == self.directory.absolute()

    def finished_metrics(self) -> dict[str, float] | None:
        """The test metrics of a finished run that is to go on with the same options, for which nothing remains."""
        if not self.in_place or self.changed or not (self.directory / SUMMARY).exists():
            return None
        log.info("%s holds a finished run: nothing remains to be done", self.directory)
        test: dict[str, Any] = json.loads((self.directory / SUMMARY).read_text(encoding="utf-8"))["test"]
        return {f"test/{name}": value for name, value in test.items()}

    def record_in(self, module: DistillationModule, configuration: str, data: dict[str, str]) -> None:
        """Let the checkpoints record the run. data: a hash of each split. Raises DataError for other data."""
        if self.origin is not None:
            self.origin.check_data(data)
            log.info("%s", "; ".join([f"training goes on from {self.path}", *self.changed]))
        module.record = RunRecord(configuration, data).to_json()

    def make_room(self) -> None:
        """Rename the results that a run had so far if it goes on here, else remove those of a run that is replaced."""
        remove_leftovers(self.directory / CHECKPOINTS)
        if self.in_place:
            keep_earlier(self.directory)
        elif self.replaces:
            clear(self.directory)


def find_checkpoint(config: DictConfig, directory: Path) -> Path | None:
    """The checkpoint to go on from, if any.

    Raises ConfigError where the one that is asked for is not there. In a sweep that is repeated with ckpt_path=last,
    runs that had not begun begin now, provided that any run below its folder had.
    """
    if config.ckpt_path is None:
        return None
    path = directory / CHECKPOINTS / "last.ckpt" if config.ckpt_path == "last" else Path(config.ckpt_path).expanduser()
    if exists(path):
        return path
    if config.ckpt_path == "last" and HydraConfig.get().mode == RunMode.MULTIRUN:
        sweep = Path(HydraConfig.get().sweep.dir)
        if not any(sweep.rglob("checkpoints/last*.ckpt")):
            raise ConfigError(
                f"ckpt_path=last: no run below {sweep} has a checkpoint",
                "name the folder of the sweep with hydra.sweep.dir=…, or leave ckpt_path out",
            )
        log.info("nothing to go on from in %s: this run begins", directory)
        return None
    raise ConfigError(f"ckpt_path={config.ckpt_path}: there is no {path}", "leave ckpt_path out to begin anew")

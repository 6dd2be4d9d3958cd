"""The logger of Weights & Biases, online if its server can be reached."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from jointkd.errors import ConfigError, did_you_mean
from jointkd.files.run_files import (
    CARD,
    CONFIGURATION,
    PARITY,
    PROVENANCE,
    SPLIT,
    STUDENT,
    SUMMARY,
    TESTED_STRUCTURES,
)

ARTIFACTS = {  # what can be kept of a run: the type of the artifact, and the files in the run's folder
    "student": ("model", (STUDENT, CARD)),
    "split": ("dataset", (SPLIT,)),
    "results": ("results", (SUMMARY, CONFIGURATION, PROVENANCE, SPLIT, TESTED_STRUCTURES, PARITY, "metrics/*.csv")),
}


class RunLogger(WandbLogger):
    """Lightning's logger, which can also keep files of a run as artifacts. artifacts: names of `ARTIFACTS`."""

    def __init__(self, artifacts: Sequence[str] = (), **options: Any) -> None:
        for name in artifacts:
            if name not in ARTIFACTS:
                raise ConfigError(
                    f"logger.wandb.artifacts has {name}, which is not known",
                    f"{did_you_mean(name, ARTIFACTS)}choose from {', '.join(ARTIFACTS)}",
                )
        super().__init__(**options)
        self.artifacts = artifacts

    def go_on(self) -> None:
        """Continue the newest run in `save_dir`, if any; an id that is given (also as WANDB_RUN_ID) has precedence."""
        files = sorted(Path(str(self.save_dir)).glob("wandb/*run-*/run-*.wandb"), key=lambda file: file.stat().st_mtime)
        if files and self._id is None and "WANDB_RUN_ID" not in os.environ:
            self._id = self._wandb_init["id"] = files[-1].stem.removeprefix("run-")

    @rank_zero_only
    def log_files(self, folder: Path) -> None:
        """Keep the artifacts that were asked for. folder: of the finished run."""
        import wandb

        for name in self.artifacts:
            kind, patterns = ARTIFACTS[name]
            artifact = wandb.Artifact(f"{name}-{self.experiment.id}", type=kind)
            for file in (file for pattern in patterns for file in sorted(folder.glob(pattern))):
                artifact.add_file(str(file), name=file.relative_to(folder).as_posix())
            self.experiment.log_artifact(artifact)

    @rank_zero_only
    def finish(self, failed: bool) -> None:
        """End the run there. Else the next job of a sweep, in the same process, would go on with it."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=int(failed))


def reachable(host: str = "api.wandb.ai", port: int = 443, seconds: float = 2.0) -> bool:
    """Whether a connection to the server can be made."""
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return True
    except OSError:
        return False


def wandb_logger(**options: Any) -> RunLogger:
    """A logger that stores the run on disk if there is no network, to be sent later with `wandb sync`.

    The environment variable WANDB_MODE has precedence. Raises ConfigError.
    """
    offline = "WANDB_MODE" not in os.environ and not reachable()
    return RunLogger(offline=offline, **options)

"""What loggers get beside numbers: the options of a run, its picture and its files."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from jointkd.files.run_files import PARITY_PLOT

PICTURE = "test/parity"
LOCAL = (CSVLogger, TensorBoardLogger)  # would write the options to a file; config.yaml has them


@contextmanager
def run_logged(loggers: Sequence[Logger], options: Mapping[str, Any], resumed: bool = False) -> Iterator[None]:
    """A context for a run, whose options are logged as it begins; where a logger can end a run, it does so.

    resumed: the run goes on in its folder, and so in the logs where a logger would begin another one.
    """
    failed = True
    try:
        for logger in loggers:
            if resumed and hasattr(logger, "go_on"):
                logger.go_on()
            if not isinstance(logger, LOCAL):
                logger.log_hyperparams(dict(options))
        yield
        failed = False
    finally:
        for logger in loggers:
            if hasattr(logger, "finish"):
                logger.finish(failed)


def log_results(loggers: Sequence[Logger], folder: Path, step: int) -> None:
    """Give the picture in a finished run's folder to the loggers that take pictures, and its files likewise."""
    for logger in loggers:
        if hasattr(logger, "log_image"):
            logger.log_image(PICTURE, [str(folder / PARITY_PLOT)], step)
        if hasattr(logger, "log_files"):
            logger.log_files(folder)

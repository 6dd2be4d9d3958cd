"""The logger of TensorBoard, which needs a package of its own."""

from lightning.pytorch.loggers import TensorBoardLogger

from jointkd.errors import MissingExtra


def tensorboard_logger(save_dir: str) -> TensorBoardLogger:
    """A logger that writes event files to the folder `tensorboard` of a run's folder. Raises MissingExtra."""
    try:
        return TensorBoardLogger(save_dir, name=None, version="tensorboard")
    except ModuleNotFoundError as error:
        raise MissingExtra("logger=tensorboard needs tensorboard", "pip install 'jointkd[tensorboard]'") from error

"""The logger of TensorBoard, which needs a package of its own."""

from collections.abc import Sequence

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib import image

from jointkd.errors import MissingExtra


class PictureLogger(TensorBoardLogger):
    """Lightning's logger, with the method for pictures that its logger of Weights & Biases has."""

    @rank_zero_only
    def log_image(self, key: str, images: Sequence[str], step: int | None = None) -> None:
        """Log pictures. images: paths of PNG files."""
        for path in images:
            self.experiment.add_image(key, image.imread(path), step, dataformats="HWC")
        self.experiment.flush()  # else it is lost where the process ends now


def tensorboard_logger(save_dir: str) -> PictureLogger:
    """A logger that writes event files to the folder `tensorboard` of a run's folder. Raises MissingExtra."""
    try:
        return PictureLogger(save_dir, name=None, version="tensorboard")
    except ModuleNotFoundError as error:
        raise MissingExtra("logger=tensorboard needs tensorboard", "pip install 'jointkd[tensorboard]'") from error

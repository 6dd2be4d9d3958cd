"""Read a data set, choose from it, check and divide it, and keep it ready for training."""

import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from jointkd.commands.build import data_options, prepare_data
from jointkd.data.datamodule import DistillationData
from jointkd.files.run_files import SPLIT

log = logging.getLogger(__name__)


def run(config: DictConfig) -> None:
    """Prepare the data that training with the same configuration would use, neighbours included."""
    directory = Path(HydraConfig.get().runtime.output_dir)
    data = DistillationData(data_options(config))
    prepare_data(data, directory, config.student.cutoff, config.student.get("max_neighbors"))
    data.find_neighbors()
    data.save_split(directory)
    log.info("prepared: %s; the split: %s", data.source.path, directory / SPLIT)

"""Make a student of a checkpoint that fairchem-core 1.x saved."""

from omegaconf import DictConfig

from jointkd.errors import ConfigError
from jointkd.students.import_fairchem import import_checkpoint


def run(config: DictConfig) -> None:
    """Write the student's file. Raises ConfigError where several are named."""
    if not isinstance(config.output, str):
        raise ConfigError(f"output={config.output} must be one path", "give the name of one file")
    import_checkpoint(str(config.checkpoint), str(config.output), config.ema, config.scale)

"""Make a student of a checkpoint that fairchem-core 1.x saved."""

from omegaconf import DictConfig

from jointkd.students.import_fairchem import import_checkpoint


def run(config: DictConfig) -> None:
    """Write the student's file."""
    import_checkpoint(str(config.checkpoint), str(config.output), config.ema, config.scale)

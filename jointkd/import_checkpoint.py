"""python -m jointkd.import_checkpoint checkpoint=best_checkpoint.pt output=student.safetensors: of the prior art."""

from omegaconf import DictConfig

from jointkd.cli.command import command


@command("import_checkpoint")
def main(config: DictConfig) -> None:
    from jointkd.students.import_fairchem import import_checkpoint

    import_checkpoint(str(config.checkpoint), str(config.output), config.ema, config.scale)


if __name__ == "__main__":
    main()

"""python -m jointkd.prepare: read, choose, check and divide a data set, and keep it ready for training."""

from omegaconf import DictConfig

from jointkd.cli.command import command


@command("prepare")
def main(config: DictConfig) -> None:
    from jointkd.commands.train import prepare_only

    prepare_only(config)


if __name__ == "__main__":
    main()

"""python -m jointkd.train: label what is missing, train a student, test it."""

from omegaconf import DictConfig

from jointkd.cli.command import command


@command("train")
def main(config: DictConfig) -> None:
    from jointkd.commands.train import train

    train(config)


if __name__ == "__main__":
    main()

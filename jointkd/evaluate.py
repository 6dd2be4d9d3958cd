"""python -m jointkd.evaluate run=outputs/…: the test metrics of a finished run."""

from omegaconf import DictConfig

from jointkd.cli.command import command


@command("evaluate")
def main(config: DictConfig) -> None:
    from jointkd.commands.train import evaluate

    evaluate(config)


if __name__ == "__main__":
    main()

"""python -m jointkd.label: make a teacher's labels for a data set; run it as often and as many times as you like."""

from omegaconf import DictConfig

from jointkd.cli.command import command


@command("label")
def main(config: DictConfig) -> None:
    from jointkd.commands.train import label_only

    label_only(config)


if __name__ == "__main__":
    main()

"""python -m jointkd.report runs=outputs/…: a table, a picture and a summary of many runs by method."""

from omegaconf import DictConfig

from jointkd.cli.command import command


@command("report")
def main(config: DictConfig) -> None:
    from jointkd.reports.tables import report

    report(config)


if __name__ == "__main__":
    main()

"""python -m jointkd.bench: time and memory per training step, labelling rates, and start-up."""

from omegaconf import DictConfig

from jointkd.cli.command import command


@command("bench")
def main(config: DictConfig) -> None:
    from jointkd.commands.bench import bench

    bench(config)


if __name__ == "__main__":
    main()

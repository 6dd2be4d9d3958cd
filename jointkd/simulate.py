"""python -m jointkd.simulate run=outputs/… structures=start.xyz: molecular dynamics with a student."""

from omegaconf import DictConfig

from jointkd.cli.command import command


@command("simulate")
def main(config: DictConfig) -> None:
    from jointkd.simulation.dynamics import simulate

    simulate(**{str(name): value for name, value in config.items() if name != "_target_"})


if __name__ == "__main__":
    main()

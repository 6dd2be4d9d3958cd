"""python -m jointkd.simulate run=outputs/… structures=start.xyz: molecular dynamics with a student."""

from omegaconf import DictConfig

from jointkd.command import command


@command("simulate")
def main(config: DictConfig) -> None:
    from jointkd.dynamics import simulate

    simulate(**{str(name): value for name, value in config.items() if name != "_target_"})


if __name__ == "__main__":
    main()

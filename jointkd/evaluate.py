"""python -m jointkd.evaluate: the test metrics of a finished run."""

from jointkd.cli.command import command

main = command("evaluate")

if __name__ == "__main__":
    main()

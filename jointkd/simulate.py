"""python -m jointkd.simulate: molecular dynamics with a student."""

from jointkd.cli.command import command

main = command("simulate")

if __name__ == "__main__":
    main()

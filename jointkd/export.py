"""python -m jointkd.export: a student as a compiled library for fast molecular dynamics, in one file."""

from jointkd.cli.command import command

main = command("export")

if __name__ == "__main__":
    main()

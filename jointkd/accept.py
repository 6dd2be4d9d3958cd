"""python -m jointkd.accept: grade a student before it is used."""

from jointkd.cli.command import command

main = command("accept")

if __name__ == "__main__":
    main()

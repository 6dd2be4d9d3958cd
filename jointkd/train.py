"""python -m jointkd.train: label what is missing, train a student, test it."""

from jointkd.cli.command import command

main = command("train")

if __name__ == "__main__":
    main()

"""python -m jointkd.label: make a teacher's labels for a data set; it may be run by any number of processes at once."""

from jointkd.cli.command import command

main = command("label")

if __name__ == "__main__":
    main()

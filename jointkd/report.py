"""python -m jointkd.report: a table, a picture and a summary of many runs."""

from jointkd.cli.command import command

main = command("report")

if __name__ == "__main__":
    main()

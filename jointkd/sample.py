"""python -m jointkd.sample: new structures for a teacher to label, from those at hand."""

from jointkd.cli.command import command

main = command("sample")

if __name__ == "__main__":
    main()

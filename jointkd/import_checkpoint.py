"""python -m jointkd.import_checkpoint: a student from a checkpoint of fairchem-core 1.x."""

from jointkd.cli.command import command

main = command("import_checkpoint")

if __name__ == "__main__":
    main()

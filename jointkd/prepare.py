"""python -m jointkd.prepare: read, choose, check and divide a data set, and keep it ready for training."""

from jointkd.cli.command import command

main = command("prepare")

if __name__ == "__main__":
    main()

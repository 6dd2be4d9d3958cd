"""python -m jointkd.bench: time and memory per training step, labelling rates, and start-up."""

from jointkd.cli.command import command

main = command("bench")

if __name__ == "__main__":
    main()

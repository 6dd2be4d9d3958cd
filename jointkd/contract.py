"""python -m jointkd.contract: whether a student, teacher, reader or term of your own keeps its contract."""

from jointkd.commands.contract import main

if __name__ == "__main__":
    main()

"""python -m jointkd.scan: scans of a dihedral, students against teacher and reference."""

from jointkd.cli.command import command

main = command("scan")

if __name__ == "__main__":
    main()

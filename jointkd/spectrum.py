"""python -m jointkd.spectrum: the Fourier spectrum of students' errors along paths."""

from jointkd.cli.command import command

main = command("spectrum")

if __name__ == "__main__":
    main()

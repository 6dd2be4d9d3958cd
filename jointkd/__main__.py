"""jointkd COMMAND …, or python -m jointkd COMMAND …: the same as python -m jointkd.COMMAND …"""

import ast
import runpy
import sys
from pathlib import Path

from jointkd import __version__
from jointkd.errors import did_you_mean

COMMANDS = (
    "train",
    "prepare",
    "label",
    "evaluate",
    "simulate",
    "accept",
    "scan",
    "spectrum",
    "report",
    "bench",
    "contract",
    "import_checkpoint",
    "export",
    "sample",
)


def main() -> None:
    """Run the command that the first argument names, with the others. Exits with status 2 for one that is not known."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        del sys.argv[1]
        runpy.run_module(f"jointkd.{name}", run_name="__main__", alter_sys=True)
    elif name in ("--help", "-h"):
        print(overview())
    elif name == "--version":
        print(__version__)
    else:
        hint = did_you_mean(name, COMMANDS)
        print(f"there is no command {name}; {hint}choose one of {', '.join(COMMANDS)}", file=sys.stderr)
        raise SystemExit(2)


def overview() -> str:
    """Every command with what it is for, a line each."""
    lines = ["jointkd COMMAND [option=value …]; jointkd COMMAND --help lists the options of a command", ""]
    for name in COMMANDS:
        door = ast.get_docstring(ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))) or ""
        lines.append(f"  {name:<18}{door.partition(': ')[2]}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""The configuration files that ship with jointkd, and a configuration as dotted options, without Hydra."""

from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())
NOT_GROUPS = {"hydra", "sweep"}  # launchers for Hydra, sweeps for W&B


def choices(group: str) -> list[str]:
    """The names that a group of the configuration has; those that begin with `_` are bases, not choices."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if not path.stem.startswith("_"))


def is_group(name: str) -> bool:
    """Whether a group of the configuration has this name."""
    return name not in NOT_GROUPS and (CONF / name).is_dir()


def list_groups() -> str:
    """Every group of the configuration with its choices, a line each."""
    names = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name not in NOT_GROUPS)
    return "\n".join(f"  {name + '=':<12}{' | '.join(choices(name))}" for name in names)


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Every option of nested dictionaries by its dotted name, inner nodes as well as leaves."""
    options: dict[str, Any] = {}
    for name, value in tree.items():
        options[f"{prefix}{name}"] = value
        if isinstance(value, dict):
            options |= flatten(value, f"{prefix}{name}.")
    return options


def is_private(path: str) -> bool:
    """Whether an option is one of Hydra's own, such as `_target_`."""
    return path.rpartition(".")[2].startswith("_")

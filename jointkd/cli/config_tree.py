"""The configuration files of jointkd, and configurations as options with dotted names; without Hydra."""

from pathlib import Path
from textwrap import fill
from typing import Any

import yaml

PACKAGE = Path(__file__).parents[1]
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())
NOT_GROUPS = {"hydra", "sweep"}  # Hydra's launchers, and sweeps of Weights & Biases


def choices(group: str) -> list[str]:
    """The choices of a group of the configuration; files whose names begin with `_` are bases of others."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if not path.stem.startswith("_"))


def is_group(name: str) -> bool:
    """Whether a group of the configuration has this name."""
    return name not in NOT_GROUPS and (CONF / name).is_dir()


def read_yaml(file: Path) -> Any:
    """The content of a configuration file."""
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def is_optional(group: str, command: str = "train") -> bool:
    """Whether nothing is chosen of a group by default, as of `preset`."""
    return {group: None} in read_yaml(CONF / f"{command}.yaml")["defaults"]


def groups() -> list[str]:
    """The names of all groups of the configuration."""
    return sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name not in NOT_GROUPS)


def list_groups() -> str:
    """All groups of the configuration with their choices."""
    return "\n".join(
        fill(" | ".join(choices(name)), 118, initial_indent=f"  {name + '=':<12}", subsequent_indent=" " * 14)
        for name in groups()
    )


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """All options of nested dictionaries by dotted name, inner nodes as well as leaves."""
    options: dict[str, Any] = {}
    for name, value in tree.items():
        options[f"{prefix}{name}"] = value
        if isinstance(value, dict):
            options |= flatten(value, f"{prefix}{name}.")
    return options


def as_text(value: Any) -> str:
    """The value of an option for tables and comparisons; paths are reduced to their last part."""
    if isinstance(value, list):
        return f"[{', '.join(map(as_text, value))}]"
    return "null" if value is None else str(value).rpartition("/")[2]


def is_private(path: str) -> bool:
    """Whether an option is one of Hydra's own, such as `_target_`."""
    return path.rpartition(".")[2].startswith("_")

"""The text of --help: what a command does, the choices of its groups, and every option with its comment."""

import re
from collections.abc import Iterator
from pathlib import Path
from string import Template
from textwrap import wrap
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from jointkd.cli.config_tree import CONF, is_group, read_yaml

LINE = re.compile(r"^(?P<indent> *)(?P<name>[\w$]+):(?P<value>(?: [^#\s].*?)?)(?: # (?P<comment>.*))?$")
CONTINUED = re.compile(r"^(?P<indent> *)# (?P<comment>.*)$")
WIDTH = 120  # columns, within which a comment stands beside its option


def help_text(command: str, overrides: list[str]) -> str:
    """The help of a command with these options."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose(command, overrides, return_hydra_config=True)
    chosen: Any = config.hydra.runtime.choices
    files = [(CONF / f"{command}.yaml", "")]
    files += [
        (CONF / group / f"{choice}.yaml", "" if "@_global_" in group else f"{group}.")
        for group, choice in chosen.items()
        if choice is not None and is_group(group)
    ]
    comments = {path: comment for file, prefix in files for path, comment in comments_of(file, prefix)}
    HydraConfig.instance().set_config(config)  # which options of the command may refer to
    template = Template(config.hydra.help.template)
    with open_dict(config):
        del config["hydra"]
    return template.substitute(CONFIG=with_comments(config, comments))


def comments_of(file: Path, prefix: str) -> Iterator[tuple[str, str]]:
    """The comments beside the options of a configuration file and of those it is based on, by dotted name."""
    if not file.exists():
        return
    for base in read_yaml(file).get("defaults") or []:
        if isinstance(base, str) and base != "_self_":
            yield from comments_of(file.with_name(f"{base}.yaml"), prefix)
    text = file.read_text(encoding="utf-8")
    more = continuations(text)
    for number, (path, match) in enumerate(options_of(text)):
        if match["comment"]:
            yield prefix + path, " ".join([match["comment"], *more[number]])


def continuations(text: str) -> list[list[str]]:
    """For each line of a YAML text that sets an option the comments below it that are indented further than it is."""
    found: list[list[str]] = []
    indent = None  # of the option whose comment may go on
    for line in text.splitlines():
        if match := LINE.match(line):
            indent = len(match["indent"]) if match["comment"] else None
            found.append([])
        elif indent is not None and (comment := CONTINUED.match(line)) and len(comment["indent"]) > indent:
            found[-1].append(comment["comment"])
        else:
            indent = None
    return found


def options_of(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """The lines of a YAML text that set an option, with its dotted name."""
    names: list[tuple[int, str]] = []  # those around the line, with their indents
    for line in text.splitlines():
        match = LINE.match(line)
        if match:
            indent = len(match["indent"])
            names = [(depth, name) for depth, name in names if depth < indent] + [(indent, match["name"])]
            yield ".".join(name for _, name in names), match


def with_comments(config: DictConfig, comments: dict[str, str]) -> str:
    """A configuration as YAML; the comment of an option stands beside it, or above where the line would be too long."""
    lines = []
    text = OmegaConf.to_yaml(config)
    paths = iter(options_of(text))
    path, match = next(paths, ("", None))
    for line in text.splitlines():
        comment = ""
        if match is not None and match[0] == line:
            comment = comments.get(path, "")
            path, match = next(paths, ("", None))
        if comment and len(line) + len(comment) + 3 > WIDTH:
            before = f"{line[: len(line) - len(line.lstrip())]}# "
            lines += wrap(comment, WIDTH, initial_indent=before, subsequent_indent=before)
            comment = ""
        lines.append(line + (f" # {comment}" if comment else ""))
    return "\n".join(lines)

"""Whether a tag may be released: it is the version that stands everywhere, and the changelog has a section of it.

    python .ci/check_release.py v0.2.0 > notes.md

prints that section, the notes of the release, or one line that says what is wrong, with status 1.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


class Refused(Exception):
    """One line for whoever made the tag."""


def notes(tag: str, root: Path = ROOT) -> str:
    """The section of the changelog of the version that a tag names. Raises Refused."""
    for file, version in versions(root).items():
        if tag != f"v{version}":
            raise Refused(f"the tag {tag} must be v{version}, the version in {file}")
    version = tag.removeprefix("v")
    heading = re.escape(version)
    found = re.search(
        rf"^## \[?{heading}\]? – (\S+)\n(.*?)(?=^## |\Z)", (root / "CHANGELOG.md").read_text(), re.MULTILINE | re.DOTALL
    )
    if not found or not found[2].strip():
        raise Refused(f"CHANGELOG.md must have a section '## [{version}] – DATE' that says what is new")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", found[1]):
        raise Refused(f"CHANGELOG.md must give the date of {version} as YYYY-MM-DD instead of '{found[1]}'")
    return found[2].strip() + "\n"


def versions(root: Path) -> dict[str, str]:
    """The version by the file where it stands. Raises Refused."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    found = {"pyproject.toml": str(project["version"])}
    for file, pattern in {
        "jointkd/__init__.py": r'^__version__ = "(.+)"$',
        "CITATION.cff": r"^version: (\S+)$",
    }.items():
        match = re.search(pattern, (root / file).read_text(), re.MULTILINE)
        if not match:
            raise Refused(f"{file} must give the version")
        found[file] = match[1]
    return found


if __name__ == "__main__":
    try:
        print(notes(*sys.argv[1:]), end="")
    except Refused as error:
        sys.exit(f"not released: {error}")

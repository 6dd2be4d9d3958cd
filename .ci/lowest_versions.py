"""The lowest version of every package that pyproject.toml admits, as constraints for pip.

python .ci/lowest_versions.py > lowest.txt        # torch==2.10 among them
TORCH=2.13.0 python .ci/lowest_versions.py        # where there is no wheel of the lowest torch
"""

import itertools
import os
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUIREMENT = re.compile(r"^(?P<name>[\w.-]+)(\[.*\])?(?P<bounds>[^;]*)")
LOWEST = re.compile(r"(?:>=|==|~=)\s*([\w.]+)")
APART = "fairchem"  # the extra with an environment of its own


def constraints(root: Path = ROOT, torch: str | None = None) -> list[str]:
    """`name==version` for every requirement with a lower bound; torch: the version to take instead of the lowest."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = [needs for name, needs in project["optional-dependencies"].items() if name != APART]
    lowest = {}
    for requirement in itertools.chain(project["dependencies"], *extras):
        parts = REQUIREMENT.match(requirement)
        bound = LOWEST.search(parts["bounds"]) if parts else None
        if parts and bound:
            lowest[parts["name"]] = bound[1]
    if torch:
        lowest["torch"] = torch
    return [f"{name}=={version}" for name, version in lowest.items()]


if __name__ == "__main__":
    print("\n".join(constraints(torch=os.environ.get("TORCH"))))

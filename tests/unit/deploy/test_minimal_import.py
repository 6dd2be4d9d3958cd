"""A student runs where only torch, numpy, ASE, safetensors and vesin are installed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.test_dependencies import DISTRIBUTIONS, EXTRAS, NEEDED, PROJECT, TOOLS

ROOT = Path(__file__).parents[3]
STUDENT = ROOT / "tests/fixtures/made_by_0_1/students/paper.safetensors"
MINIMAL = {"torch", "numpy", "ase", "safetensors", "vesin"}
WITH_TORCH = {"filelock", "setuptools"}  # torch itself requires them

WITHOUT = """
import json
import sys
from importlib.machinery import PathFinder

ABSENT, students = json.loads(sys.argv[1])


class Rest(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else PathFinder.find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Rest
"""
COMPUTE = """
from ase.build import molecule
from jointkd import load

atoms = molecule("CH3CH2OH")
for student in (students[0], students):
    atoms.calc = load(student).ase()
    assert atoms.get_forces().any()
    assert len(atoms.calc.get_hessian(atoms)) == 3 * len(atoms)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def run(code: str, *students: Path) -> subprocess.CompletedProcess[str]:
    """Run code where only the five packages, and what they require, can be imported."""
    extras = set().union(*(needs for extra, needs in EXTRAS.items() if extra not in TOOLS))
    absent = (NEEDED | extras) - MINIMAL - WITH_TORCH
    names = {module: distribution for module, distribution in DISTRIBUTIONS.items() if distribution in absent}
    blocked = sorted(absent | names.keys() | {"pytorch_lightning"})
    assert {"hydra", "lightning", "wandb", "h5py", "matplotlib", "mace"} <= set(blocked)
    arguments = json.dumps([blocked, [str(student) for student in students]])
    command = [sys.executable, "-c", WITHOUT + code, arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_student_computes_where_nothing_but_its_five_packages_can_be_imported():
    done = run(COMPUTE, STUDENT, STUDENT)
    assert done.returncode == 0, done.stderr
    assert {"torch", "ase", "vesin"} <= set(json.loads(done.stdout))


def test_a_command_says_in_one_line_that_it_needs_all_packages():
    done = run("import runpy; runpy.run_module('jointkd.simulate', run_name='__main__')")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("MissingExtra: a command needs all packages of jointkd, and hydra-core is not installed;")


@pytest.mark.parametrize("page", ["README.md", "docs/engines.md"])
def test_the_five_packages_are_documented_with_the_versions_that_are_admitted(page):
    (command,) = re.findall(r"pip install ((?:'[^']+' ?){5})\n", (ROOT / page).read_text())
    requirements = re.findall(r"'([^']+)'", command)
    assert {re.split(r"[<>=!]", requirement)[0] for requirement in requirements} == MINIMAL
    assert set(requirements) <= set(PROJECT["dependencies"])

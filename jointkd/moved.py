"""Names of version 0.1 that are still met: in configurations of runs, in prepared sets and in users' own modules."""

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MODULES = {  # version 0.1 → now
    "jointkd.callbacks": "jointkd.training.callbacks",
    "jointkd.callbacks.interrupt": "jointkd.training.callbacks.interrupt",
    "jointkd.callbacks.near_teacher": "jointkd.training.callbacks.near_teacher",
    "jointkd.callbacks.plain_progress": "jointkd.training.callbacks.plain_progress",
    "jointkd.data.amin": "jointkd.data.readers.amin2025",
    "jointkd.data.extxyz": "jointkd.data.readers.extxyz",
    "jointkd.data.units": "jointkd.data.readers.units",
    "jointkd.frame": "jointkd.structures.frame",
    "jointkd.neighbors": "jointkd.structures.neighbors",
    "jointkd.objective": "jointkd.training",
    "jointkd.objective.derivatives": "jointkd.students.derivatives",
    "jointkd.objective.terms": "jointkd.training.loss",
    "jointkd.structure": "jointkd.structures.batch",
    "jointkd.tracking": "jointkd.training.wandb_logger",
    "jointkd.weights": "jointkd.students.student_file",
}
OBJECTS = {
    "jointkd.data.datamodule.from_file": "jointkd.data.options.FileData",
    "jointkd.data.published.from_publisher": "jointkd.data.published.PublishedData",
    "lightning.pytorch.callbacks.EMAWeightAveraging": "jointkd.training.callbacks.ema.EMAWeightAveraging",
}


def current_name(name: str) -> str:
    """The import path today of an object that version 0.1 had under `name`; other names stay as they are."""
    module, _, attribute = name.rpartition(".")
    return OBJECTS.get(name) or f"{MODULES.get(module, module)}.{attribute}"


def first_name(name: str) -> str:
    """The import path that an object had in version 0.1, by which prepared sets record their readers and rules."""
    module, _, attribute = name.rpartition(".")
    for before, now in MODULES.items():
        if now == module:
            return f"{before}.{attribute}"
    return name


class OldImports(MetaPathFinder, Loader):
    """Imports a module by its name of version 0.1, with a DeprecationWarning that says the new one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MODULES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        now = MODULES[spec.name]
        warnings.warn(f"{spec.name} is now {now}", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(now)
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._own_spec  # the import system has replaced it by that of the old name


def install() -> None:
    """Let imports by the names of version 0.1 work."""
    if not any(isinstance(finder, OldImports) for finder in sys.meta_path):
        sys.meta_path.insert(0, OldImports())  # before a search in the folder of a parent package

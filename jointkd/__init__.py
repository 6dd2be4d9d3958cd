"""Distillation of foundation force fields into small students with atomic energies and Hessian rows."""

import importlib
from typing import TYPE_CHECKING, Any

from jointkd import moved

if TYPE_CHECKING:
    from jointkd.api import FileErrors, Run, evaluate, label, train
    from jointkd.deploy.loaded import load

__version__ = "0.2.0"
__all__ = ["FileErrors", "Run", "evaluate", "label", "load", "train"]

moved.install()


def __getattr__(name: str) -> Any:
    """The functions of the Python API, imported when they are first used: torch takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module 'jointkd' has no attribute {name!r}")
    return getattr(importlib.import_module("jointkd.deploy.loaded" if name == "load" else "jointkd.api"), name)

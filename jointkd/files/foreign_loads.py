"""Contains a setting of other packages that would let `torch.load` trust every file of this process.

mace-torch sets TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD as it is imported. From then on each `torch.load` without an explicit
`weights_only`, such as Lightning's of a checkpoint, would run code from its file.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_remembered: list[str] = []  # the value that a package set within a block, at its only import


@contextmanager
def foreign_loads() -> Iterator[None]:
    """A block for imports, constructors and calls of foreign packages: they find their setting, and leave none behind.

    The block is for code that the user named; files that come with a run or a student are never loaded in it.
    """
    before = os.environ.get(VARIABLE)
    if _remembered:
        os.environ[VARIABLE] = _remembered[0]
    try:
        yield
    finally:
        now = os.environ.pop(VARIABLE, None)
        if now is not None and now != before:
            _remembered[:] = [now]
        if before is not None:
            os.environ[VARIABLE] = before

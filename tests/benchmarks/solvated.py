"""The solvated amino acids of SPICE's own file (geometries in nanometres, no energies), with random targets."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from ase.data import atomic_numbers

from jointkd.structures.batch import Structure
from jointkd.structures.neighbors import neighbors

NAMES = ("ILE", "GLN", "HIE", "TYR")


def numbers_of(group: Any) -> np.ndarray:
    """[N] int64 the atomic numbers of a group, whose SMILES number the atoms."""
    mapped = re.findall(r"\[([A-Za-z])[^:\]]*:(\d+)\]", group["smiles"][0].decode())
    symbols = {int(number): symbol.upper() for symbol, number in mapped}
    return np.array([atomic_numbers[symbols[number + 1]] for number in range(len(symbols))])


def structures(
    path: Path, cutoff: float, molecules: int, rows: int, max_neighbors: int | None = None
) -> list[Structure]:
    """Conformations of four of them in turn."""
    generator, made = torch.Generator().manual_seed(0), []
    with h5py.File(path) as file:
        for number in range(molecules):
            group = file[NAMES[number % len(NAMES)]]
            positions = 10 * np.asarray(group["conformations"][number // len(NAMES)], dtype=np.float64)
            numbers = numbers_of(group)
            count = len(numbers)
            labels = {
                "energy": torch.randn(1, generator=generator),
                "forces": torch.randn(count, 3, generator=generator),
                "teacher_atomic_energies": torch.randn(count, generator=generator),
            }
            if rows:
                labels["hessian_rows"] = torch.randn(count, rows, 3, generator=generator)
                labels["row_ids"] = torch.randint(0, 3 * count, (1, rows), generator=generator)
            near = neighbors(positions, np.zeros((3, 3)), np.zeros(3, dtype=bool), cutoff, max_neighbors)
            made.append(Structure.from_arrays(numbers, positions, near, **labels))
    return made

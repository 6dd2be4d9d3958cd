"""The stability of a structure: the change of its bond lengths since the start. Source: the paper, A.9."""

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from ase.neighborlist import natural_cutoffs, neighbor_list

LONGEST_DEVIATION = 0.5  # Å; the paper, eq. 51


class Bonds:
    """The bonds of a structure, with their initial lengths."""

    def __init__(self, atoms: Atoms) -> None:
        first, second = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.25))
        self.pairs = np.array([(i, j) for i, j in zip(first, second, strict=True) if i < j], dtype=int).reshape(-1, 2)
        self.lengths = self._lengths(atoms)

    def deviation(self, atoms: Atoms) -> float:
        """The largest change of a bond length in Å, infinite if a position is not finite."""
        if not np.isfinite(atoms.positions).all():
            return float("inf")
        return float(np.abs(self._lengths(atoms) - self.lengths).max(initial=0.0))

    def describe_worst(self, atoms: Atoms) -> str:
        """The bond whose length changed most, for messages."""
        lengths = self._lengths(atoms)
        bond = int(np.abs(lengths - self.lengths).argmax())
        i, j = self.pairs[bond]
        ends = f"{atoms.symbols[i]}{i}-{atoms.symbols[j]}{j}"
        return f"the bond {ends} is {lengths[bond]:.2f} Å long and was {self.lengths[bond]:.2f} Å"

    def _lengths(self, atoms: Atoms) -> np.ndarray:
        first, second = self.pairs.T
        vectors, _ = find_mic(atoms.positions[second] - atoms.positions[first], atoms.cell, atoms.pbc)
        return np.linalg.norm(vectors, axis=-1)

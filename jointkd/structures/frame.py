"""A structure as it is read and labelled: numpy arrays in float64, no neighbours, no batch."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms

CHARGES = ("charge", "total_charge", "net_charge")  # names of a structure's charge in `Frame.info`
SPINS = ("spin", "multiplicity", "total_spin")  # and of its spin, 2S + 1
RESOLUTION = 1e-6  # Å; positions closer than that are the same structure to the content key


def charge_entries(info: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a structure's info that state its charge and its spin."""
    return {name: info[name] for name in (*CHARGES, *SPINS) if name in info}


def bare(atoms: Atoms) -> Atoms:
    """Elements, positions, cell and periodicity, with the charge and spin that are stated, and nothing else."""
    geometry = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    geometry.info.update(charge_entries(atoms.info))
    return geometry


@dataclass(frozen=True, eq=False)  # two frames are compared by their keys
class Frame:
    """Atoms with reference labels, where there are any."""

    numbers: np.ndarray  # [N] int64
    positions: np.ndarray  # [N, 3] Å
    cell: np.ndarray = field(default_factory=lambda: np.zeros((3, 3)))  # [3, 3] Å, rows are lattice vectors
    pbc: np.ndarray = field(default_factory=lambda: np.zeros(3, dtype=bool))  # [3]
    energy: float | None = None  # eV, total
    forces: np.ndarray | None = None  # [N, 3] eV/Å
    stress: np.ndarray | None = None  # [3, 3] eV/Å³, (1/V) ∂E/∂ε: positive under tension
    group: str = ""  # molecule, material or trajectory
    split: str | None = None  # where the file itself says it belongs
    source: str = ""  # where it was read, for messages
    info: Mapping[str, Any] = field(default_factory=dict)  # what else the file says of it, for subsets and reports
    fault: str = ""  # why its reader finds it unfit to learn from, if it does

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def key(self) -> str:
        """Content hash of elements, positions, cell and periodicity; order of atoms counts, labels do not."""
        digest = hashlib.sha256()
        digest.update(np.asarray(self.numbers, dtype="<i8").tobytes())
        for lengths in (self.positions, np.where(self.pbc[:, None], self.cell, 0.0)):
            digest.update(np.rint(np.asarray(lengths) / RESOLUTION).astype("<i8").tobytes())
        digest.update(np.asarray(self.pbc, dtype="u1").tobytes())
        return digest.hexdigest()[:32]

    @property
    def charge(self) -> float:
        """The charge (e) that the file states, 0 where it states none."""
        stated = (self.info[name] for name in CHARGES if isinstance(self.info.get(name), int | float))
        return next((float(charge) for charge in stated), 0.0)

    def with_key(self, key: str) -> "Frame":
        """This frame, with its key as it was stored instead of computed; a changed copy computes its own."""
        vars(self)["key"] = key
        return self

    def to_ase(self) -> Atoms:
        """Elements, positions, cell and periodicity as a new `ase.Atoms`, without labels."""
        return Atoms(self.numbers, self.positions, cell=self.cell, pbc=self.pbc)

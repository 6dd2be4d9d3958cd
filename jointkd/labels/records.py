"""What a teacher says of one structure, and who the teacher is."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

UNITS = {"energy": "eV", "length": "angstrom"}
SIGN = "hessian_rows = +d2E/dRdR = -dF/dR"


@dataclass(frozen=True)
class Spread:
    """How far several teachers are apart on one structure: sample standard deviations of their labels."""

    energy: float  # eV
    atomic_energies: np.ndarray  # [N] eV
    forces: np.ndarray  # [N, 3] eV/Å


@dataclass(frozen=True)
class TeacherLabels:
    """Labels of one structure of N atoms: its energies and forces, and K rows of its Hessian."""

    energy: float  # eV, the teacher's total
    atomic_energies: np.ndarray  # [N] eV, without the teacher's free-atom energies; [0] of a teacher that has none
    forces: np.ndarray  # [N, 3] eV/Å
    hessian_rows: np.ndarray  # [K, N, 3] eV/Å²
    row_ids: np.ndarray  # [K] int64, 3 * atom + axis
    spread: Spread | None = None  # of an ensemble

    def finite(self) -> bool:
        arrays = (np.asarray(self.energy), self.atomic_energies, self.forces, self.hessian_rows)
        return all(np.isfinite(array).all() for array in arrays)


@dataclass(frozen=True)
class TeacherIdentity:
    """Everything that makes labels belong to one teacher; `fingerprint` is what must agree."""

    name: str
    checkpoint: str  # sha256 of the weights' file, or what else fixes the labels
    dtype: str
    elements: tuple[int, ...]
    free_atom_energies: dict[int, float]  # eV by atomic number, to be added to atomic_energies; {} where none are known
    atomic_energies: bool = True  # whether it parts the energy among atoms
    members: int = 1  # how many models are averaged
    head: str | None = None  # which output of a model that has several
    licence: str = ""
    level_of_theory: str = ""
    citation: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def fingerprint(self) -> dict[str, str | None]:
        return {"name": self.name, "checkpoint": self.checkpoint, "dtype": self.dtype, "head": self.head}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "TeacherIdentity":
        energies = {int(z): energy for z, energy in values["free_atom_energies"].items()}
        return cls(**{**values, "elements": tuple(values["elements"]), "free_atom_energies": energies})


def choose_rows(key: str, atoms: int, rows: int | str, seed: int) -> np.ndarray:
    """[K] which Hessian rows of a structure are labelled: all 3N, or `rows` of them drawn from its key and a seed."""
    if rows == "all" or int(rows) >= 3 * atoms:
        return np.arange(3 * atoms)
    rng = np.random.default_rng([seed, int(key[:16], 16)])
    return np.sort(rng.choice(3 * atoms, int(rows), replace=False))

"""The labels that a teacher gives one structure, and the identity of the teacher."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

UNITS = {"energy": "eV", "length": "angstrom"}
SIGN = "hessian_rows = +d2E/dRdR = -dF/dR"


@dataclass(frozen=True)
class Spread:
    """Disagreement of the members of an ensemble on one structure: sample standard deviations of their labels."""

    energy: float  # eV
    atomic_energies: np.ndarray  # [N] eV
    forces: np.ndarray  # [N, 3] eV/Å


@dataclass(frozen=True)
class TeacherLabels:
    """Labels of one structure of N atoms: its energies and forces, and its Hessian along K directions."""

    energy: float  # eV, the teacher's total energy
    atomic_energies: np.ndarray  # [N] eV, relative to the teacher's free atoms; [0] if the teacher has none
    forces: np.ndarray  # [N, 3] eV/Å
    hessian_rows: np.ndarray  # [K, N, 3] eV/Å², rows of the Hessian or its products with probes
    directions: np.ndarray  # [K] int64, 3 * atom + axis of each row, or [K, N, 3] probes; see `directions`
    spread: Spread | None = None  # of an ensemble

    def finite(self) -> bool:
        """Whether all labels are finite numbers."""
        arrays = (np.asarray(self.energy), self.atomic_energies, self.forces, self.hessian_rows)
        return all(np.isfinite(array).all() for array in arrays)


@dataclass(frozen=True)
class TeacherIdentity:
    """The teacher that labels come from. Labels of one store agree in their teacher's `fingerprint`."""

    name: str
    checkpoint: str  # checksum of the weights, or a description of all that determines the labels
    dtype: str  # precision of the labels
    elements: tuple[int, ...]  # atomic numbers that the teacher was trained on
    free_atom_energies: dict[int, float]  # eV by atomic number; {} if unknown
    atomic_energies: bool = True  # whether the teacher gives atomic energies
    members: int = 1  # number of models in an ensemble
    head: str | None = None  # the output that labels come from, of a model with several
    licence: str = ""
    level_of_theory: str = ""
    citation: str = ""
    versions: dict[str, str] = field(default_factory=dict)  # of the packages that compute the labels

    def fingerprint(self) -> dict[str, str | None]:
        """The fields in which the labels of one store must agree."""
        return {"name": self.name, "checkpoint": self.checkpoint, "dtype": self.dtype, "head": self.head}

    def free_atoms_energy(self, numbers: np.ndarray) -> float:
        """Sum of the free-atom energies of some atoms, in eV, which atomic energies are relative to. numbers: [N]."""
        return sum(self.free_atom_energies.get(int(z), 0.0) for z in numbers)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "TeacherIdentity":
        energies = {int(z): energy for z, energy in values["free_atom_energies"].items()}
        return cls(**{**values, "elements": tuple(values["elements"]), "free_atom_energies": energies})

"""Small structures and students that many tests share."""

from dataclasses import replace

import torch
from ase import Atoms

from jointkd.contracts.structures import (
    ACETAMIDE,
    CUTOFF,
    ETHANOL,
    PEROVSKITE,
    SALT,
    SPECIAL,
    TRICLINIC,
    WATER,
    rattled,
    structure,
)
from jointkd.structures.batch import TENSORS, Structure, collate

MOLECULES = [ETHANOL, WATER, ACETAMIDE]

__all__ = [
    "CUTOFF", "ETHANOL", "MOLECULES", "PEROVSKITE", "SALT", "SPECIAL", "TRICLINIC", "WATER",
    "batch_of", "equal", "labelled", "rattled", "structure", "with_probes",
]  # fmt: skip


def batch_of(*many: Atoms, cutoff: float = CUTOFF) -> Structure:
    """A batch in float64."""
    return collate([structure(atoms, cutoff) for atoms in many], torch.float64)


def equal(ours: Structure, theirs: Structure) -> bool:
    """Whether all tensors are the same, bit by bit, and in the same dtypes."""
    pairs = [(getattr(ours, name), getattr(theirs, name)) for name in TENSORS]
    return all(a is b is None or (a.dtype == b.dtype and torch.equal(a, b)) for a, b in pairs)


def with_probes(batch: Structure) -> Structure:
    """A batch whose Hessian is labelled along random vectors instead of rows."""
    assert batch.hessian_rows is not None
    generator = torch.Generator().manual_seed(5)
    probes = torch.randn(batch.hessian_rows.shape, generator=generator, dtype=torch.float64)
    return replace(batch, row_ids=None, probes=probes)


def labelled(atoms: Atoms, rows: int, seed: int = 0) -> Structure:
    """A structure with random labels of every kind."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    count = len(atoms)
    return structure(
        atoms,
        energy=random(1),
        forces=random(count, 3),
        teacher_atomic_energies=random(count),
        hessian_rows=random(count, rows, 3),
        row_ids=torch.randperm(3 * count, generator=generator)[:rows][None],
        stress=random(1, 3, 3),
        inverse_volume=random(1).abs(),
    )

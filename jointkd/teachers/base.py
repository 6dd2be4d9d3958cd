"""The protocol of teachers, and what differentiable teachers share: Hessian rows, and the labels of a batch."""

import logging
from itertools import accumulate, pairwise, zip_longest
from typing import Protocol

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from torch import Tensor

from jointkd.errors import ConfigError, TeacherError
from jointkd.labels.directions import are_probes
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.structures.frame import Frame

log = logging.getLogger(__name__)


class Teacher(Protocol):
    """A force field that makes labels."""

    identity: TeacherIdentity
    batch_atoms: int | None  # structures are labelled together up to so many atoms; None: the fastest, by a probe

    def label(self, frames: list[Frame], directions: list[np.ndarray]) -> list[TeacherLabels]:
        """Labels of each structure, with its Hessian along directions[b]: [K_b] rows or [K_b, N_b, 3] probes.

        See `labels.directions`. The labels of a structure that cannot be computed are not finite. Raises TeacherError.
        """
        ...


def hessian_rows(forces: Tensor, positions: Tensor, first: Tensor, directions: list[np.ndarray]) -> list[np.ndarray]:
    """Rows of the energy Hessian of every structure of a batch: a list of [K_b, N_b, 3] eV/Å².

    forces [N, 3] eV/Å with an autograd graph to positions [N, 3] Å; first [B + 1]: the index of the first atom of each
    structure, and N; directions[b]: [K_b] int64, 3 * atom + axis within structure b, or [K_b, N_b, 3] probes, whose
    products with the Hessian take the place of rows.

    One backward pass gives row k of every structure, so memory does not grow with the number of rows. The passes use
    `torch.autograd.grad`, because `torch.func` gives wrong derivatives of MACE's TorchScript modules without an error.
    """
    starts = first.tolist()
    collected: list[list[np.ndarray]] = [[] for _ in directions]
    passes = list(zip_longest(*directions))
    for number, ids in enumerate(passes):
        active = [b for b, direction in enumerate(ids) if direction is not None]
        cotangent = torch.zeros_like(forces)
        for b in active:
            if are_probes(directions[b]):
                cotangent[starts[b] : starts[b + 1]] = -torch.from_numpy(ids[b]).to(cotangent)
            else:
                cotangent.view(-1)[3 * starts[b] + int(ids[b])] = -1.0
        is_last = number + 1 == len(passes)
        (rows,) = torch.autograd.grad(forces, positions, cotangent, retain_graph=not is_last)
        for b in active:
            collected[b].append(rows[starts[b] : starts[b + 1]].cpu().numpy())
    return [np.stack(rows) if rows else np.zeros((0, starts[b + 1] - starts[b], 3)) for b, rows in enumerate(collected)]


def labels_of_batch(
    identity: TeacherIdentity,
    frames: list[Frame],
    directions: list[np.ndarray],
    atomic_energies: Tensor,
    forces: Tensor,
    positions: Tensor,
) -> list[TeacherLabels]:
    """The labels of each structure, from the outputs of a differentiable model for a batch of all structures.

    atomic_energies [N] eV, relative to the free atoms; forces [N, 3] eV/Å, with an autograd graph to positions [N, 3] Å
    if any structure has rows; directions: see `hessian_rows`.
    """
    first = list(accumulate(map(len, frames), initial=0))
    rows = hessian_rows(forces, positions, torch.tensor(first), directions)
    energies = atomic_energies.detach().double().cpu().numpy()
    force_array = forces.detach().cpu().numpy()
    return [
        TeacherLabels(
            energy=float(energies[start:end].sum() + identity.free_atoms_energy(frame.numbers)),
            atomic_energies=energies[start:end],
            forces=force_array[start:end],
            hessian_rows=rows[b],
            directions=directions[b],
        )
        for b, (frame, (start, end)) in enumerate(zip(frames, pairwise(first), strict=True))
    ]


def log_identity(teacher: TeacherIdentity) -> None:
    """Log name, level of theory and licence of a teacher, and warn if the licence forbids commercial use."""
    theory, licence = teacher.level_of_theory or "level of theory unknown", teacher.licence or "unknown"
    log.info("teacher %s (%s), licence: %s", teacher.name, theory, licence)
    if "non-commercial" in licence:
        log.warning(
            "NOT FOR COMMERCIAL USE: the licence of %s (%s) forbids it, and may cover students too",
            teacher.name,
            licence,
        )


def check_elements(frames: list[Frame], identity: TeacherIdentity) -> None:
    """Raise TeacherError for a structure with an element that the teacher was not trained on."""
    for frame in frames:
        unknown = sorted({int(z) for z in frame.numbers} - set(identity.elements))
        if unknown:
            known = " ".join(chemical_symbols[z] for z in identity.elements)
            raise TeacherError(
                f"teacher {identity.name} does not know {chemical_symbols[unknown[0]]} ({frame.source or frame.key})",
                f"leave such structures out or choose another teacher (it knows {known})",
            )


def by_atomic_number(values: dict[str, float], option: str) -> dict[int, float]:
    """Values by atomic number instead of by symbol; option: its name, for the ConfigError about unknown symbols."""
    for symbol in values:
        if atomic_numbers.get(symbol, 0) == 0:
            raise ConfigError(
                f"teacher.{option} has {symbol}, which is not the symbol of an element", "give symbols: H, C, Si, …"
            )
    return {atomic_numbers[symbol]: float(value) for symbol, value in values.items()}

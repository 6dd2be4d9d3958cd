"""What every teacher is, and the one engine that makes Hessian rows of differentiable ones."""

import logging
from itertools import zip_longest
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from jointkd.errors import TeacherError
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.structures.frame import Frame

log = logging.getLogger(__name__)


class Teacher(Protocol):
    """A force field that labels. batch_atoms: structures are labelled together up to so many atoms; None: probe it."""

    identity: TeacherIdentity
    batch_atoms: int | None

    def label(self, frames: list[Frame], row_ids: list[np.ndarray]) -> list[TeacherLabels]:
        """Labels of each frame, with the Hessian rows row_ids[b] [K_b] of frame b."""
        ...


def hessian_rows(forces: Tensor, positions: Tensor, first: Tensor, row_ids: list[np.ndarray]) -> list[np.ndarray]:
    """Rows of the energy Hessian of every structure of a batch: a list of [K_b, N_b, 3] eV/Å².

    forces [N, 3] eV/Å with a graph back to positions [N, 3]; first [B + 1] where each structure's atoms begin.
    Row k of every structure comes from one backward pass, so memory does not grow with the number of rows.
    By `torch.autograd.grad`, because `torch.func` is silently wrong through MACE's TorchScript parts.
    """
    starts = first.tolist()
    collected: list[list[np.ndarray]] = [[] for _ in row_ids]
    passes = list(zip_longest(*row_ids))
    for number, ids in enumerate(passes):
        active = [b for b, row in enumerate(ids) if row is not None]
        cotangent = torch.zeros_like(forces)
        for b in active:
            cotangent.view(-1)[3 * starts[b] + int(ids[b])] = -1.0
        more = number + 1 < len(passes)
        (rows,) = torch.autograd.grad(forces, positions, cotangent, retain_graph=more)
        for b in active:
            collected[b].append(rows[starts[b] : starts[b + 1]].cpu().numpy())
    return [np.stack(rows) if rows else np.zeros((0, starts[b + 1] - starts[b], 3)) for b, rows in enumerate(collected)]


def log_identity(teacher: TeacherIdentity) -> None:
    """Log who labels, and warn where the licence forbids commercial use."""
    theory, licence = teacher.level_of_theory or "level of theory unknown", teacher.licence or "unknown"
    log.info("teacher %s (%s), licence: %s", teacher.name, theory, licence)
    if "non-commercial" in licence:
        log.warning(
            "NOT FOR COMMERCIAL USE: %s, by its licence (%s), which may hold for students too", teacher.name, licence
        )


def check_elements(frames: list[Frame], identity: TeacherIdentity) -> None:
    """Raises TeacherError for a structure with an element that the teacher was not trained on."""
    from ase.data import chemical_symbols

    for frame in frames:
        unknown = sorted({int(z) for z in frame.numbers} - set(identity.elements))
        if unknown:
            known = " ".join(chemical_symbols[z] for z in identity.elements)
            raise TeacherError(
                f"teacher {identity.name} does not know {chemical_symbols[unknown[0]]} ({frame.source or frame.key})",
                f"leave such structures out or take another teacher (it knows {known})",
            )

"""Several models of one kind as one teacher: the mean of what they say, and how far they are apart."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jointkd.errors import ConfigError, TeacherError
from jointkd.labels.records import Spread, TeacherIdentity, TeacherLabels
from jointkd.structures.frame import Frame
from jointkd.teachers import mace
from jointkd.teachers.base import Teacher, check_elements


class EnsembleTeacher:
    """Means over the labels of several teachers; rows of the mean energy's Hessian are the means of their rows."""

    def __init__(self, members: Sequence[Teacher], name: str) -> None:
        self.members = sorted(members, key=lambda member: member.identity.checkpoint)  # their order changes nothing
        self.identity = joint_identity([member.identity for member in self.members], name)

    @property
    def batch_atoms(self) -> int | None:
        return self.members[0].batch_atoms  # the same for all

    def label(self, frames: list[Frame], row_ids: list[np.ndarray]) -> list[TeacherLabels]:
        """Labels of each frame with their spread; see `Teacher`."""
        check_elements(frames, self.identity)
        said = [member.label(frames, row_ids) for member in self.members]
        return [mean([labels[b] for labels in said]) for b in range(len(frames))]


def mean(labels: Sequence[TeacherLabels]) -> TeacherLabels:
    """The means of several labels of one structure, and their sample standard deviations as the spread."""
    arrays = {
        name: np.stack([np.asarray(getattr(label, name)) for label in labels])
        for name in ("energy", "atomic_energies", "forces", "hessian_rows")
    }
    means = {name: values.mean(0) for name, values in arrays.items()}
    apart = {name: arrays[name].std(0, ddof=1) for name in ("energy", "atomic_energies", "forces")}
    return replace(
        labels[0],
        **{**means, "energy": float(means["energy"])},
        spread=Spread(**{**apart, "energy": float(apart["energy"])}),
    )


def joint_identity(members: Sequence[TeacherIdentity], name: str) -> TeacherIdentity:
    """Who an ensemble is. Raises TeacherError for members that cannot be averaged."""
    if len({member.checkpoint for member in members}) < max(2, len(members)):
        raise TeacherError(f"teacher {name} has a member twice, or only one", "give different checkpoints")
    theories = sorted({member.level_of_theory or "unknown" for member in members})
    if len(theories) > 1:
        raise TeacherError(
            f"the members of teacher {name} are at different levels of theory: {', '.join(theories)}",
            "average models of one level of theory only, and say with teacher.level_of_theory=… what is unknown",
        )
    elements = tuple(sorted(set.intersection(*(set(member.elements) for member in members))))
    if not elements:
        raise TeacherError(f"the members of teacher {name} have no element in common", "give others")
    free_atoms = [member.free_atom_energies for member in members]
    return replace(
        members[0],
        name=name,
        checkpoint=joint_checksum([member.checkpoint for member in members]),
        elements=elements,
        free_atom_energies={z: float(np.mean([free.get(z, 0.0) for free in free_atoms])) for z in elements},
        members=len(members),
        licence="; ".join(sorted({member.licence for member in members if member.licence})),
        citation="; ".join(sorted({member.citation for member in members if member.citation})),
    )


def joint_checksum(checksums: Sequence[str]) -> str:
    """One checksum of those of the members, whatever their order."""
    return hashlib.sha256("".join(sorted(checksums)).encode()).hexdigest()


def of_checkpoints(
    checkpoints: list[str], name: str, member: Callable[..., Teacher] = mace.from_checkpoint, **options: Any
) -> EnsembleTeacher:
    """An ensemble of models of one kind; member: what makes a teacher of a checkpoint, and is given the options."""
    if not checkpoints or isinstance(checkpoints, str):
        raise ConfigError(f"teacher.checkpoints={checkpoints} is no list", "give teacher.checkpoints=[a.model,b.model]")
    return EnsembleTeacher([member(checkpoint=each, name=name, **options) for each in checkpoints], name)

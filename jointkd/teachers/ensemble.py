"""Ensembles: several models as one teacher, with the mean and the spread of their labels."""

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
    """Labels with the means of several teachers; the Hessian rows of the mean energy are the means of the rows."""

    def __init__(self, members: Sequence[Teacher], name: str) -> None:
        self.members = sorted(members, key=lambda member: member.identity.checkpoint)  # in any order
        self.identity = joint_identity([member.identity for member in self.members], name)

    @property
    def batch_atoms(self) -> int | None:
        return self.members[0].batch_atoms  # all members have the same

    def label(self, frames: list[Frame], directions: list[np.ndarray]) -> list[TeacherLabels]:
        """Labels of each structure with their spread; see `Teacher`."""
        check_elements(frames, self.identity)
        labels_of_members = [member.label(frames, directions) for member in self.members]
        return [mean(labels) for labels in zip(*labels_of_members, strict=True)]


def mean(labels: Sequence[TeacherLabels]) -> TeacherLabels:
    """Means of several labels of one structure, with their sample standard deviations as the spread."""
    arrays = {
        name: np.stack([np.asarray(getattr(label, name)) for label in labels])
        for name in ("energy", "atomic_energies", "forces", "hessian_rows")
    }
    means = {name: values.mean(0) for name, values in arrays.items()}
    deviations = {name: arrays[name].std(0, ddof=1) for name in ("energy", "atomic_energies", "forces")}
    return replace(
        labels[0],
        **{**means, "energy": float(means["energy"])},
        spread=Spread(**{**deviations, "energy": float(deviations["energy"])}),
    )


def joint_identity(members: Sequence[TeacherIdentity], name: str) -> TeacherIdentity:
    """The identity of an ensemble. Raises TeacherError for members that cannot be averaged."""
    if len({member.checkpoint for member in members}) < max(2, len(members)):
        raise TeacherError(f"teacher {name} must have two or more different members", "give different checkpoints")
    theories = sorted({member.level_of_theory or "unknown" for member in members})
    if len(theories) > 1:
        raise TeacherError(
            f"the members of teacher {name} are of different levels of theory: {', '.join(theories)}",
            "average models of one level of theory only; set teacher.level_of_theory=… where it is unknown",
        )
    elements = tuple(sorted(set.intersection(*(set(member.elements) for member in members))))
    if not elements:
        raise TeacherError(f"the members of teacher {name} have no element in common", "choose other checkpoints")
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
    """One checksum from those of the members, independent of their order."""
    return hashlib.sha256("".join(sorted(checksums)).encode()).hexdigest()


def of_checkpoints(
    checkpoints: list[str], name: str, member: Callable[..., Teacher] = mace.from_checkpoint, **options: Any
) -> EnsembleTeacher:
    """An ensemble of models. member: builds the teacher of a checkpoint, with the options. Raises ConfigError."""
    if not checkpoints or isinstance(checkpoints, str):
        raise ConfigError(
            f"teacher.checkpoints={checkpoints} must be a list", "give teacher.checkpoints=[a.model,b.model]"
        )
    return EnsembleTeacher([member(checkpoint=each, name=name, **options) for each in checkpoints], name)

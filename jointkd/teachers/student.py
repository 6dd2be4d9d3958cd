"""A trained student as the teacher of another one: self-distillation, the outlook of the paper."""

from collections.abc import Iterable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import torch

from jointkd.errors import TeacherError
from jointkd.files.atomic import combined_sha256
from jointkd.labels.directions import are_probes, vectors
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.runtime import device_of
from jointkd.structures.batch import Structure, collate
from jointkd.structures.frame import Frame
from jointkd.structures.neighbors import neighbors
from jointkd.students.base import Student
from jointkd.students.derivatives import predict
from jointkd.students.student_file import load_student, locate_student
from jointkd.teachers.base import check_elements


class StudentTeacher:
    """A conservative student; see `Teacher`. Its atomic energies are relative to its reference energies."""

    def __init__(self, student: Student, identity: TeacherIdentity, device: str, batch_atoms: int | None) -> None:
        self.student, self.identity = student, identity
        self.device, self.batch_atoms = device, batch_atoms
        self.dtype = getattr(torch, identity.dtype)

    def label(self, frames: list[Frame], directions: list[np.ndarray]) -> list[TeacherLabels]:
        """Energies, forces and Hessian rows; see `Teacher`."""
        check_elements(frames, self.identity)
        batch = self._batch(frames)
        prediction = predict(self.student, batch, self._together(directions, batch))
        assert prediction.forces is not None
        atomic, forces = (as_array(each) for each in (prediction.atomic_energies, prediction.forces))
        rows = np.zeros((len(forces), 0, 3)) if prediction.hessian_rows is None else as_array(prediction.hessian_rows)
        return [
            TeacherLabels(
                energy=float(atomic[start:end].sum() + self.identity.free_atoms_energy(frame.numbers)),
                atomic_energies=atomic[start:end],
                forces=forces[start:end],
                hessian_rows=rows[start:end, : len(ids)].swapaxes(0, 1),
                directions=ids,
            )
            for frame, ids, (start, end) in zip(frames, directions, pairwise(batch.ptr.tolist()), strict=True)
        ]

    def _batch(self, frames: list[Frame]) -> Structure:
        cutoff, most = self.student.cutoff, self.student.max_neighbors
        structures = [
            Structure.from_arrays(
                frame.numbers, frame.positions, neighbors(frame.positions, frame.cell, frame.pbc, cutoff, most)
            )
            for frame in frames
        ]
        return collate(structures, self.dtype).to(self.device)

    def _together(self, directions: list[np.ndarray], batch: Structure) -> torch.Tensor | None:
        """The directions of all structures as one tensor, see `predict`; None without any.

        Where a structure has fewer than others, what fills the rest is not used.
        """
        most = max(map(len, directions))
        if not most:
            return None
        if any(map(are_probes, directions)):
            sizes = batch.atoms_per_structure.tolist()
            of_each = [vectors(own, atoms) for own, atoms in zip(directions, sizes, strict=True)]
            filled = [np.pad(own, ((0, most - len(own)), (0, 0), (0, 0))) for own in of_each]
            return torch.from_numpy(np.concatenate(filled, axis=1).swapaxes(0, 1)).to(batch.positions)
        return torch.tensor(np.stack([np.pad(ids, (0, most - len(ids))) for ids in directions])).to(self.device)


def as_array(values: torch.Tensor) -> np.ndarray:
    """Values of any device in float64."""
    return values.detach().double().cpu().numpy()


def from_run(
    run: str,
    name: str,
    dtype: str,
    device: str | None,
    batch_atoms: int | None,
    head: str | None = None,
    trust: str | Iterable[str] | None = None,
    licence: str | None = None,
    level_of_theory: str | None = None,
    citation: str | None = None,
) -> StudentTeacher:
    """A teacher from the folder of a finished run, or from a student's file.

    Licence, level of theory and citation are by default those of the student's own teacher. Raises DataError for other
    files, TeacherError for a student whose forces are not derivatives of its energy, for one without reference
    energies, and for a dtype or head that students do not have.
    """
    if dtype not in ("float32", "float64"):
        raise TeacherError(f"teacher.dtype={dtype} must be float64 or float32", "give teacher.dtype=float64 or float32")
    if head is not None:
        raise TeacherError(f"teacher.head={head}: a student has one output", "leave out teacher.head")
    path = locate_student(Path(run).expanduser())
    module, saved = load_student(path, trust or ())
    student = cast(Student, module)
    if not student.conservative:
        raise TeacherError(
            f"the student {path} predicts forces directly: they are not derivatives of an energy",
            "choose one that was trained with student.conservative=true",
        )
    if not saved.reference_energies:
        raise TeacherError(f"the student {path} has no reference energies", "choose a student that jointkd has trained")
    device = device_of(device, "teacher.device")
    module.to(device=device, dtype=getattr(torch, dtype)).eval().requires_grad_(False)
    card = saved.origin.get("teacher_card") or {}
    identity = TeacherIdentity(
        name=name,
        checkpoint=combined_sha256(path),
        dtype=dtype,
        elements=tuple(sorted(saved.reference_energies)),
        free_atom_energies=saved.reference_energies,
        licence=licence or card.get("licence", ""),
        level_of_theory=level_of_theory or card.get("level_of_theory", ""),
        citation=citation or card.get("citation", ""),
        versions={package: version(package) for package in ("torch", "jointkd")},
    )
    return StudentTeacher(student, identity, device, batch_atoms)

"""Errors of the teacher itself against the reference data: the first row of the paper's tables 2 to 4."""

import numpy as np

from jointkd.data.datamodule import DistillationData
from jointkd.evaluation.metrics import energy_error, force_error


def teacher_errors(data: DistillationData, split: str) -> dict[str, float]:
    """The teacher's mean absolute errors on a split, by the names of the student's metrics.

    The energy of a structure is the sum of its aligned atomic energies, the targets of the student; a teacher without
    atomic energies has no energy error. Raises LabelMismatch for structures without labels.
    """
    teacher = data.teacher["train"]
    assert teacher is not None
    assert data.references is not None
    energies: list[np.ndarray] = []
    forces: list[np.ndarray] = []
    for frame in data.labelled(split, teacher.store):
        assert frame.forces is not None
        labels = teacher.store.read(frame.key, rows=False)
        forces.append(force_error(labels.forces, frame.forces).ravel())
        if teacher.alignment is not None and frame.energy is not None:
            predicted = teacher.alignment.targets(frame, labels).sum(keepdims=True)
            reference = frame.energy - data.references.of(frame.numbers).sum(keepdims=True)
            energies.append(energy_error(predicted, reference, np.array([len(frame)])))
    errors = {"energy_mae_meV_per_atom": energies, "force_mae_meV_per_A": forces}
    return {name: float(np.abs(np.concatenate(values)).mean()) for name, values in errors.items() if values}

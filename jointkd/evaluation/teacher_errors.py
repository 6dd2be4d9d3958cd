"""How far a teacher itself is from the reference: the first row of the paper's tables 2 to 4."""

import numpy as np

from jointkd.data.datamodule import DistillationData


def teacher_errors(data: DistillationData, split: str) -> dict[str, float]:
    """A teacher's errors on a split, named as the metrics of a student.

    Forces: mean over components, in meV/Å. Energies, of a teacher that parts them among atoms: mean over structures
    of |Σ_i target_i - (E - Σ e)| / N, in meV/atom, with the targets that students get.
    Raises LabelMismatch where structures are not labelled.
    """
    teacher = data.teacher["train"]
    assert teacher is not None
    assert data.references is not None
    store = teacher.store
    energies, forces = [], []
    for frame in data.labelled(split, store):
        labels = store.read(frame.key, rows=False)
        forces.append(np.abs(labels.forces - frame.forces).ravel())
        if teacher.alignment is not None and frame.energy is not None:
            total = frame.energy - data.references.of(frame.numbers).sum()
            energies.append(abs(teacher.alignment.targets(frame, labels).sum() - total) / len(frame))
    errors = {"energy_mae_meV_per_atom": np.array(energies), "force_mae_meV_per_A": np.concatenate(forces)}
    return {name: 1e3 * float(values.mean()) for name, values in errors.items() if len(values)}

"""A data set with labels of every kind, small enough to train on within a second."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch

from jointkd.data.datamodule import DistillationData
from jointkd.data.options import ReaderData
from jointkd.data.splits import Split
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.structures.frame import Frame
from jointkd.students.painn import PaiNN
from jointkd.training.loss import AtomicEnergy, Energy, Forces, Hessian
from jointkd.training.module import DistillationModule
from tests.structures import CUTOFF, MOLECULES, rattled

FREE = {1: -13.0, 6: -1030.0, 7: -1486.0, 8: -2043.0}
ROWS = 3


def toy_frames(count: int = 30) -> list[Frame]:
    """Rattled molecules with random energies and forces."""
    frames = []
    for number in range(count):
        atoms = rattled(MOLECULES[number % len(MOLECULES)], seed=number)
        rng = np.random.default_rng(number)
        total = sum(FREE[int(z)] for z in atoms.numbers) - 4.0 * len(atoms) + rng.normal()
        forces = rng.normal(size=(len(atoms), 3))
        frames.append(Frame(atoms.numbers.astype(np.int64), atoms.positions, energy=total, forces=forces))
    return frames


def toy_store(path: Path, frames: list[Frame]) -> LabelStore:
    """Labels of a teacher that answers at random."""
    identity = TeacherIdentity("toy", "0" * 64, "float64", tuple(FREE), FREE)
    store = LabelStore.create(path, identity, {"rows": ROWS})
    labels = {}
    for frame in frames:
        rng = np.random.default_rng(len(labels))
        count = len(frame)
        atomic = rng.normal(-4.0, 1.0, count)
        labels[frame.key] = TeacherLabels(
            energy=float(atomic.sum() + sum(FREE[int(z)] for z in frame.numbers)),
            atomic_energies=atomic,
            forces=rng.normal(size=(count, 3)),
            hessian_rows=rng.normal(size=(ROWS, count, 3)),
            directions=np.sort(rng.choice(3 * count, ROWS, replace=False)),
        )
    store.append(labels)
    return store


def toy_data(path: Path, **options: Any) -> DistillationData:
    """The data module of toy frames with toy labels joined, in float64."""
    frames = toy_frames()
    data = DistillationData(
        ReaderData(name="toy", read=lambda: (frames, FREE), split=Split(train=0.6, val=0.2, test=0.2), **options)
    )
    path.mkdir(parents=True, exist_ok=True)
    data.prepare_neighbors(CUTOFF, torch.float64)
    data.fit_references()
    data.join(toy_store(path / "labels", frames), train_rows=2, eval_rows=1)
    return data


def toy_module(**student: Any) -> DistillationModule:
    """A small PaiNN under the joint objective, in float64."""
    lightning.seed_everything(7, verbose=False)
    return DistillationModule(
        student=PaiNN(**{"width": 8, "layers": 2, "radial": 6, "cutoff": CUTOFF, **student}),
        terms={
            "energy": Energy(5, "mae"),
            "forces": Forces(100, "l2"),
            "atomic_energy": AtomicEnergy(20, "mae"),
            "hessian": Hessian(400, "l2", rows=2),
        },
        optimizer=partial(torch.optim.AdamW, lr=1e-3, amsgrad=True),
        scheduler=partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0, threshold=0.99),
    ).double()


def toy_trainer(folder: Path, epochs: int, *callbacks: lightning.Callback, **options: Any) -> lightning.Trainer:
    """A trainer on a CPU that writes nothing, unless a logger is given."""
    return lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=options.pop("logger", False),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        inference_mode=False,
        default_root_dir=folder,
        **options,
    )

"""What labels of many structures cost beside the teacher: labelling, opening the store, and starting to train.

    python -m tests.benchmarks.label_scale --structures 100000

The structures are rattled copies of a molecule, the teacher's labels numbers. Prints a line of JSON for each
stage: `label` (ms per structure outside the teacher), `open` (s, with the index), `join` (s, and kB per structure;
the first time with checksums, then without) and `start`, all that a training run does before its first batch, s.
"""

import argparse
import json
import os
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from ase.build import molecule

from jointkd.data.datamodule import DistillationData
from jointkd.data.options import ReaderData
from jointkd.data.splits import Split
from jointkd.labelling.loop import label
from jointkd.labels.directions import choose_rows
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.structures.frame import Frame

FREE = {1: -13.6, 6: -1030.5, 8: -2043.9}
ROWS = 2


def read(count: int) -> tuple[list[Frame], dict[int, float]]:
    """Rattled ethanol with random energies and forces."""
    base, rng = molecule("CH3CH2OH"), np.random.default_rng(0)
    free = sum(FREE[z] for z in base.numbers.tolist())
    moves = rng.normal(scale=0.05, size=(count, len(base), 3))
    return [
        Frame(
            base.numbers.astype(np.int64),
            base.positions + move,
            energy=free - 4.0 * len(base) + float(move.sum()),
            forces=move,
            source=f"frame {number}",
        )
        for number, move in enumerate(moves)
    ], FREE


class Instant:
    """A teacher that answers at once, with the same energy for all, and counts its time."""

    batch_atoms: int | None = 1000
    identity = TeacherIdentity("instant", "0" * 64, "float64", tuple(FREE), FREE)
    seconds = 0.0

    def label(self, frames: list[Frame], directions: list[np.ndarray]) -> list[TeacherLabels]:
        start = time.perf_counter()
        made = [
            TeacherLabels(
                energy=self.identity.free_atoms_energy(frame.numbers) - 4.0 * len(frame),
                atomic_energies=np.full(len(frame), -4.0),
                forces=np.zeros((len(frame), 3)),
                hessian_rows=np.zeros((len(ids), len(frame), 3)),
                directions=ids,
            )
            for frame, ids in zip(frames, directions, strict=True)
        ]
        self.seconds += time.perf_counter() - start
        return made


def show(**values: object) -> None:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**values, "peak_mb": round(memory)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", type=int, default=100_000)
    parser.add_argument("--shard-size", type=int, default=16)
    count, shard_size = (vars(parser.parse_args())[name] for name in ("structures", "shard_size"))
    with TemporaryDirectory() as folder:
        frames = read(count)[0]
        directions = {frame.key: choose_rows(frame.key, len(frame), ROWS, 0) for frame in frames}
        teacher = Instant()
        store = LabelStore.create(Path(folder) / "labels", teacher.identity, {"rows": ROWS})
        start = time.perf_counter()
        label(frames, directions, teacher, store, shard_size, silent=True)
        outside = time.perf_counter() - start - teacher.seconds
        show(
            stage="label",
            structures=count,
            ms_per_structure=round(1e3 * outside / count, 3),
            shards=len(store.shards()),
        )
        del frames, directions, store
        training(Path(folder), count)


def training(folder: Path, count: int) -> None:
    """Open the labels and start training twice, each in a process of its own."""
    for turn in ("first", "again"):
        child = os.fork()
        if child == 0:
            start = time.perf_counter()
            LabelStore.open(folder / "labels")
            show(stage="open", turn=turn, seconds=round(time.perf_counter() - start, 2))
            start_training(folder, count, turn)
            os._exit(0)
        os.waitpid(child, 0)


def start_training(folder: Path, count: int, turn: str) -> None:
    start = time.perf_counter()
    options = ReaderData(name="many", read=lambda: read(count), split=Split(), prepared=str(folder / f"many-{count}"))
    data = DistillationData(options)
    data.prepare_neighbors(5.0, torch.float32)
    data.fit_references()
    data.find_neighbors()
    opened = time.perf_counter()
    store = LabelStore.open(folder / "labels")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data.join(store, ROWS, ROWS)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    show(
        stage="join",
        turn=turn,
        seconds=round(time.perf_counter() - opened, 2),
        kb_per_structure=round(grown / count, 2),
    )
    next(iter(data.train_dataloader()))
    show(stage="start", turn=turn, seconds=round(time.perf_counter() - start, 2))


if __name__ == "__main__":
    main()

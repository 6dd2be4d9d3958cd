"""A teacher without a model, and structures for it: what stores and labelling need to be tried."""

import time
from pathlib import Path

import numpy as np

from jointkd.frame import Frame
from jointkd.labels.records import TeacherIdentity, TeacherLabels, choose_rows

IDENTITY = TeacherIdentity(
    name="numbers",
    checkpoint="0" * 64,
    dtype="float64",
    elements=(1, 6, 8),
    free_atom_energies={1: -13.6, 6: -1030.5, 8: -2043.9},
)
SETTINGS = {"rows": 4, "eval_rows": 2, "row_seed": 0}


def frames_of(count: int, seed: int = 0) -> list[Frame]:
    """Different structures of two to six atoms."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 7, count)
    return [Frame(rng.choice([1, 6, 8], n), rng.normal(size=(n, 3)), source=f"frame {i}") for i, n in enumerate(sizes)]


def rows_of(frames: list[Frame], rows: int | str = 4) -> dict[str, np.ndarray]:
    return {frame.key: choose_rows(frame.key, len(frame), rows, seed=0) for frame in frames}


class NumberTeacher:
    """Labels that depend on the structure alone; takes `seconds` each and writes a line to `calls` for each."""

    identity = IDENTITY
    batch_atoms = 8

    def __init__(self, seconds: float = 0.0, calls: Path | None = None, spoilt: str = "") -> None:
        self.seconds, self.calls, self.spoilt = seconds, calls, spoilt

    def label(self, frames: list[Frame], row_ids: list[np.ndarray]) -> list[TeacherLabels]:
        return [self._one(frame, ids) for frame, ids in zip(frames, row_ids, strict=True)]

    def _one(self, frame: Frame, ids: np.ndarray) -> TeacherLabels:
        if self.calls is not None:
            with self.calls.open("a") as file:
                file.write(frame.key + "\n")
        time.sleep(self.seconds)
        rng = np.random.default_rng(int(frame.key[:16], 16))
        atomic = rng.normal(size=len(frame))
        forces = rng.normal(size=(len(frame), 3))
        if frame.key == self.spoilt:
            forces[0, 0] = np.nan
        hessian = rng.normal(size=(3 * len(frame), len(frame), 3))
        return TeacherLabels(float(atomic.sum()), atomic, forces, hessian[ids], ids)


def calls_in(file: Path) -> list[str]:
    """The keys of the structures that a teacher was asked for, in order."""
    return file.read_text().split() if file.exists() else []

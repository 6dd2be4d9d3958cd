"""What labels cost, said before they are made: bytes, time, and the digits that single precision takes."""

import time
from collections.abc import Callable

import numpy as np

from jointkd.labelling.batching import NO_MEMORY, PROBE_ROWS, Batching, attempt, fitting
from jointkd.labelling.plan import RowIds
from jointkd.labels.records import TeacherLabels
from jointkd.structures.frame import Frame
from jointkd.teachers.base import Teacher

TIMED = 3  # sizes of structures that are timed
FEW, MORE = 1, 6  # rows of each timed structure: the difference is the cost of a row, the rest that of a structure
HEADER = 570  # bytes of a structure's names, shapes and offsets in a shard
SPREAD_HEADER = 340  # and of its spread
CLOSEST = 1.2  # times: structures closer in size do not tell with which power of the atoms time grows
POWERS = (0.5, 2.5)  # of the number of atoms, that are believed
SAMPLE_ROWS = 8  # that are compared in both precisions


def label_bytes(frame: Frame, rows: int, dtype: str, spread: bool = False) -> int:
    """Bytes of a structure's labels on disk; spread: of an ensemble."""
    number, atoms = 4 if dtype == "float32" else 8, len(frame)
    labels = 8 + 8 * atoms + 3 * number * atoms * (1 + rows) + 8 * rows + HEADER
    return labels + (8 + 8 * atoms + 3 * number * atoms + SPREAD_HEADER if spread else 0)


def labelling_time(frames: list[Frame], row_ids: RowIds, teacher: Teacher) -> tuple[float, str]:
    """Seconds that labels of the frames take one process, and what that is based on.

    Among the small, usual and large structures one batch each is timed with few rows and with more, after the same
    batch has warmed the teacher up. Times of a structure and of a row are fitted as powers of the number of atoms.
    Nothing is stored.
    """
    ordered = sorted(frames, key=len)
    batching = Batching(teacher)
    if batching.atoms is None:
        middle = ordered[len(ordered) // 2 :][:16]
        batching.label(middle, [row_ids[frame.key][:PROBE_ROWS] for frame in middle])
    atoms, bases, slopes = [], [], []
    for part in range(TIMED):
        batch = ordered[(2 * part + 1) * len(ordered) // (2 * TIMED) :]
        batch = batch[: min(16, fitting(batch, batching.atoms or 0))]
        few, more = [[np.arange(min(count, 3 * len(frame))) for frame in batch] for count in (FEW, MORE)]
        batching.label(batch, more)
        base, longer = seconds(batching, batch, few), seconds(batching, batch, more)
        rows_few, rows_more = [sum(map(len, rows)) / len(batch) for rows in (few, more)]
        slope = max(0.0, longer - base) / (rows_more - rows_few) if rows_more > rows_few else 0.0
        atoms.append(sum(map(len, batch)) / len(batch))
        slopes.append(slope)
        bases.append(max(1e-9, base - rows_few * slope))
    base_of, row_of = power_law(atoms, bases), power_law(atoms, slopes)
    total = sum(base_of(len(frame)) + len(row_ids[frame.key]) * row_of(len(frame)) for frame in frames)
    sizes = ", ".join(f"{size:.0f}" for size in atoms)
    rows = ", ".join(f"{slope:.2g}" for slope in slopes)
    return total, f"from structures of {sizes} atoms: {rows} s a row"


def seconds(batching: Batching, frames: list[Frame], row_ids: list[np.ndarray]) -> float:
    """For each structure; the less of two, because what else the machine does only adds to it."""
    taken = []
    for _ in range(2):
        started = time.perf_counter()
        batching.label(frames, row_ids)
        taken.append(time.perf_counter() - started)
    return min(taken) / len(frames)


def power_law(atoms: list[float], values: list[float]) -> Callable[[int], float]:
    """level · atoms^power, by least squares of the logarithms; proportional to atoms where sizes are much the same."""
    x, y = np.log(atoms), np.log(np.maximum(values, 1e-12))
    power = float(np.clip(np.polyfit(x, y, 1)[0], *POWERS)) if max(atoms) > CLOSEST * min(atoms) else 1.0
    level = float(np.exp((y - power * x).mean()))
    return lambda size: level * size**power


def rounding(single: Teacher, double: Teacher, frames: list[Frame]) -> str:
    """How far labels in single precision are from those in double precision, on one structure of usual size."""
    frame = sorted(frames, key=len)[len(frames) // 2]
    rows = np.linspace(0, 3 * len(frame) - 1, min(SAMPLE_ROWS, 3 * len(frame))).astype(int)
    rounded_labels, exact_labels = (attempt(teacher, [(frame, rows)]) for teacher in (single, double))
    if rounded_labels is None or exact_labels is None:
        return f"how far labels in float32 are from those in float64 is not known: {NO_MEMORY} ({len(frame)} atoms)"
    (rounded,), (exact,) = rounded_labels, exact_labels
    return (
        f"labels in float32 differ from those in float64 by {abs(rounded.energy - exact.energy) / len(frame):.1e} "
        f"eV/atom, {furthest(rounded, exact, 'forces'):.1e} eV/Å and {furthest(rounded, exact, 'hessian_rows'):.1e} "
        f"eV/Å² at most ({frame.source or frame.key}, {len(frame)} atoms, {len(rows)} rows; the largest entry is "
        f"{np.abs(exact.hessian_rows).max():.3g} eV/Å²)"
    )


def furthest(one: TeacherLabels, other: TeacherLabels, name: str) -> float:
    return float(np.abs(getattr(one, name).astype(np.float64) - getattr(other, name)).max())

"""Estimates before labelling: the size of the labels, the time to make them, and the errors of single precision."""

import time
from collections.abc import Callable

import numpy as np

from jointkd.labelling.batching import NO_MEMORY, PROBE_ROWS, Batching, attempt, batch_length
from jointkd.labelling.plan import Directions
from jointkd.labels.records import TeacherLabels
from jointkd.structures.frame import Frame
from jointkd.teachers.base import Teacher

TIMED = 3  # number of batches that are timed, of small, medium and large structures
FEW, MORE = 1, 6  # rows of each timed structure: the difference gives the time of a row, the rest that of a structure
HEADER = 570  # bytes of the names, shapes and offsets of a structure's tensors in a shard
SPREAD_HEADER = 340  # the same of its spread
SIZE_RATIO = 1.2  # the power law in the number of atoms is fitted only if sizes differ by at least this factor
POWERS = (0.5, 2.5)  # range of the fitted power
SAMPLE_ROWS = 8  # number of rows that are compared in both precisions


def label_bytes(frame: Frame, directions: np.ndarray, dtype: str, spread: bool = False) -> int:
    """Size of the labels of a structure on disk, in bytes. spread: whether they are of an ensemble."""
    number, atoms = 4 if dtype == "float32" else 8, len(frame)
    labels = 8 + 8 * atoms + 3 * number * atoms * (1 + len(directions)) + directions.nbytes + HEADER
    return labels + (8 + 8 * atoms + 3 * number * atoms + SPREAD_HEADER if spread else 0)


def labelling_time(frames: list[Frame], directions: Directions, teacher: Teacher) -> tuple[float, str]:
    """The time in s that one process needs to label all structures, and the basis of this estimate as text.

    A batch each of small, medium and large structures is timed with few and with more rows, after a warm-up. The times
    per structure and per row are fitted by power laws in the number of atoms. Nothing is stored.
    """
    ordered = sorted(frames, key=len)
    batching = Batching(teacher)
    if batching.atoms is None:
        middle = ordered[len(ordered) // 2 :][:16]
        batching.label(middle, [directions[frame.key][:PROBE_ROWS] for frame in middle])
    atoms, bases, slopes = [], [], []
    for part in range(TIMED):
        batch = ordered[(2 * part + 1) * len(ordered) // (2 * TIMED) :]
        batch = batch[: min(16, batch_length(batch, batching.atoms or 0))]
        few, more = [[np.arange(min(count, 3 * len(frame))) for frame in batch] for count in (FEW, MORE)]
        batching.label(batch, more)
        time_few, time_more = (time_per_structure(batching, batch, rows) for rows in (few, more))
        rows_few, rows_more = [sum(map(len, rows)) / len(batch) for rows in (few, more)]
        slope = max(0.0, time_more - time_few) / (rows_more - rows_few) if rows_more > rows_few else 0.0
        atoms.append(sum(map(len, batch)) / len(batch))
        slopes.append(slope)
        bases.append(max(1e-9, time_few - rows_few * slope))
    structure_time, row_time = power_law(atoms, bases), power_law(atoms, slopes)
    total = sum(structure_time(len(frame)) + len(directions[frame.key]) * row_time(len(frame)) for frame in frames)
    sizes = ", ".join(f"{size:.0f}" for size in atoms)
    rows = ", ".join(f"{slope:.2g}" for slope in slopes)
    return total, f"from structures of {sizes} atoms: {rows} s per row"


def time_per_structure(batching: Batching, frames: list[Frame], directions: list[np.ndarray]) -> float:
    """Time in s per structure; the shorter of two trials, because other processes can only prolong it."""
    trials = []
    for _ in range(2):
        started = time.perf_counter()
        batching.label(frames, directions)
        trials.append(time.perf_counter() - started)
    return min(trials) / len(frames)


def power_law(atoms: list[float], values: list[float]) -> Callable[[int], float]:
    """Fit values by level · atoms^power, by least squares of the logarithms; power 1 if the sizes hardly differ."""
    x, y = np.log(atoms), np.log(np.maximum(values, 1e-12))
    power = float(np.clip(np.polyfit(x, y, 1)[0], *POWERS)) if max(atoms) > SIZE_RATIO * min(atoms) else 1.0
    level = float(np.exp((y - power * x).mean()))
    return lambda size: level * size**power


def compare_precisions(single: Teacher, double: Teacher, frames: list[Frame]) -> str:
    """The differences between labels in float32 and in float64, for one structure of median size, as text."""
    frame = sorted(frames, key=len)[len(frames) // 2]
    rows = np.linspace(0, 3 * len(frame) - 1, min(SAMPLE_ROWS, 3 * len(frame))).astype(int)
    sample = f"{frame.source or frame.key}, {len(frame)} atoms, {len(rows)} rows"
    rounded_labels, exact_labels = (attempt(teacher, [(frame, rows)]) for teacher in (single, double))
    if rounded_labels is None or exact_labels is None:
        return f"labels in float32 were not compared with those in float64: {NO_MEMORY} ({sample})"
    (rounded,), (exact,) = rounded_labels, exact_labels
    return (
        f"labels in float32 differ from those in float64 by {abs(rounded.energy - exact.energy) / len(frame):.1e} "
        f"eV/atom, {largest_difference(rounded, exact, 'forces'):.1e} eV/Å and "
        f"{largest_difference(rounded, exact, 'hessian_rows'):.1e} eV/Å² at most ({sample}; the largest entry is "
        f"{np.abs(exact.hessian_rows).max():.3g} eV/Å²)"
    )


def largest_difference(one: TeacherLabels, other: TeacherLabels, name: str) -> float:
    """The largest absolute difference between the entries of an array of labels, given by its name."""
    return float(np.abs(getattr(one, name).astype(np.float64) - getattr(other, name)).max())

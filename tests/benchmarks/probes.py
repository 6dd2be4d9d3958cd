"""What students that `differences` trained show when they are looked at: jumps, and errors of derivatives.

    python -m tests.benchmarks.probes outputs/differences

Of the students of seed 0; in float64 where nothing else is said. Prints one line of JSON for each question.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jointkd.cli.config_tree import PACKAGE
from jointkd.data.readers import extxyz
from jointkd.labels.store import LabelStore
from jointkd.structures.batch import Structure, collate
from jointkd.structures.frame import Frame
from jointkd.structures.neighbors import Pairs, edges, find_pairs
from jointkd.students import painn
from jointkd.students.basis import LayerNorm
from jointkd.students.derivatives import predict
from jointkd.students.student_file import load_student
from tests.benchmarks.differences import place
from tests.benchmarks.prior_art import differences

FARTHEST, STEPS = 0.5, 500  # Å an atom is moved, in how many steps
EXAMPLE = PACKAGE / "demo" / "conformations.xyz.gz"


def frames_of(path: Path) -> list[Frame]:
    frames, _ = extxyz.read(str(path), group_key="group", split_key="split")
    return list(frames)


def student_of(folder: Path, case: str, dtype: torch.dtype = torch.float64) -> Any:
    return load_student(place(folder, case, 0))[0].to(dtype).requires_grad_(False)


def pairs(student: Any, positions: np.ndarray) -> Pairs:
    return find_pairs(positions, np.zeros((3, 3)), np.zeros(3, dtype=bool), student.cutoff, student.max_neighbors)


def batch_of(student: Any, numbers: np.ndarray, positions: np.ndarray, dtype: torch.dtype = torch.float64) -> Structure:
    found = edges(pairs(student, positions), np.zeros((3, 3)))
    return collate([Structure.from_arrays(numbers, positions, found)], dtype=dtype)


def energy(student: Any, numbers: np.ndarray, positions: np.ndarray) -> float:
    """Above the references, in meV."""
    batch = batch_of(student, numbers, positions)
    return 1e3 * float(student(batch.positions, batch).atomic_energies.sum())


def jumps(student: Any, frames: list[Frame]) -> dict[str, Any]:
    """|ΔE| across each change of neighbours while one atom moves; and of atoms in reverse order. In meV."""
    rng = np.random.default_rng(0)
    found, turned = [], []
    for frame in frames:
        way = np.zeros((len(frame), 3))
        way[rng.integers(len(frame))] = rng.normal(size=3)
        way *= FARTHEST / np.linalg.norm(way)

        def at(part: float, start: np.ndarray = frame.positions, way: np.ndarray = way) -> np.ndarray:
            return start + part * way

        def same(a: float, b: float, at: Any = at) -> bool:
            return np.array_equal(pairs(student, at(a)).atoms, pairs(student, at(b)).atoms)

        for low, high in zip(np.linspace(0, 1, STEPS)[:-1], np.linspace(0, 1, STEPS)[1:], strict=True):
            if same(low, high):
                continue
            while high - low > 1e-12:
                middle = (low + high) / 2
                low, high = (middle, high) if same(low, middle) else (low, middle)
            found.append(abs(energy(student, frame.numbers, at(high)) - energy(student, frame.numbers, at(low))))
        backwards = energy(student, frame.numbers[::-1].copy(), frame.positions[::-1].copy())
        turned.append(abs(backwards - energy(student, frame.numbers, frame.positions)))
    return {
        "changes per frame": len(found) / len(frames),
        **{f"jump, {q} %": round(float(np.percentile(found, q)), 3) for q in (50, 95, 100)},
        "reordered, mean": round(float(np.mean(turned)), 3),
        "reordered, largest": round(float(np.max(turned)), 3),
    }


def quotients(folder: Path, case: str, frames: list[Frame]) -> dict[str, float]:
    """‖A - B‖ / ‖B‖ over all rows of some frames: one-sided differences in float32, and rows against columns."""
    exact, single = student_of(folder, case), student_of(folder, case, torch.float32)
    by_differences, asymmetric, norm = 0.0, 0.0, 0.0
    for frame in frames:
        ids = torch.arange(3 * len(frame))[None]
        batch = batch_of(exact, frame.numbers, frame.positions)
        rows = predict(exact, batch, ids).hessian_rows.permute(1, 0, 2).flatten(1)
        batch = batch_of(single, frame.numbers, frame.positions, torch.float32)
        columns = differences(single, batch, ids).hessian_rows.permute(1, 0, 2).flatten(1).double()
        by_differences += float((columns - rows.T).square().sum())
        asymmetric += float((rows - rows.T).square().sum())
        norm += float(rows.square().sum())
    return {"differences against columns": (by_differences / norm) ** 0.5, "rows": (asymmetric / norm) ** 0.5}


def layer_norm(folder: Path, frames: list[Frame], store: LabelStore) -> dict[str, float]:
    """‖g - g'‖ / ‖g‖ of the gradients of the Hessian term by weights, ours and through torch's layer_norm."""
    gradients = []
    for kind in (LayerNorm, torch.nn.LayerNorm):
        painn.LayerNorm = kind  # type: ignore[misc]
        student = student_of(folder, "default").requires_grad_(True)
        for frame in frames:
            label = store.read(frame.key)
            batch = batch_of(student, frame.numbers, frame.positions)
            rows = predict(student, batch, torch.from_numpy(label.directions)[None]).hessian_rows
            target = torch.from_numpy(label.hessian_rows).double().transpose(0, 1)
            torch.linalg.vector_norm(rows - target, dim=-1).mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in student.parameters() if p.grad is not None]))
    painn.LayerNorm = LayerNorm  # type: ignore[misc]
    ours, other = gradients
    cosine = float(torch.dot(ours, other) / ours.norm() / other.norm())
    return {"relative error": float((ours - other).norm() / ours.norm()), "cosine": cosine}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    folder = parser.parse_args().directory.absolute()
    frames = frames_of(EXAMPLE)
    keys = {frame.key for frame in frames}
    more = [frame for frame in frames_of(folder / "strained.xyz") if frame.key not in keys]
    test = [frame for frame in frames if frame.split == "test"][::5]
    store = LabelStore.open(folder / "own")
    for name, some in (("example", frames), ("strained", more)):
        forces = [float(np.abs(frame.forces).max()) for frame in some if frame.forces is not None]
        labels = [store.read(frame.key).hessian_rows for frame in some if frame.key in store]
        rows = [float(np.abs(label).max()) for label in labels if len(label)]  # validation structures have none
        print(json.dumps({"data": name, "forces": [min(forces), max(forces)], "rows": [min(rows), max(rows)]}))
    for case in ("cutoff 6", "cutoff 6, cap 11", "default", "smooth=false"):
        print(json.dumps({"jumps": case, **jumps(student_of(folder, case), test)}), flush=True)
    for case in ("default", "head, joint", "GemNet-dT"):
        print(json.dumps({"quotients": case, **quotients(folder, case, test[:8])}), flush=True)
    train = [frame for frame in frames if frame.split == "train"][:8]
    print(json.dumps({"layer norm": layer_norm(folder, train, store)}))


if __name__ == "__main__":
    main()

"""What the loader costs beside training steps: batches as they are loaded against the same ones made beforehand.

    python -m tests.benchmarks.loader ../shared/data/spice/solvated-amino-acids.hdf5

Prints one line of JSON per case. `amino acids`: SPICE's solvated amino acids, molecules of 79 to 96 atoms. `crystals`:
cells of 30 atoms about as dense as an oxide, made here. `demo`: the example that ships, with its small student, whose
steps are the shortest there are. Energies, forces and Hessian rows are random numbers. A step
takes one Hessian row per structure. `opening_s` is the time to open the set and to divide it; `loader_ms` the median of
process time per batch, without workers; `ratio` that of steps with the loader to steps with batches that are there, in
turns, the median of epochs (in process time, or in wall time where there are workers or a GPU).
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from jointkd.cli.config_tree import PACKAGE
from jointkd.data.datamodule import DistillationData
from jointkd.data.options import ReaderData
from jointkd.data.readers import extxyz
from jointkd.data.splits import Split
from jointkd.data.stored_neighbors import neighbors_of
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.structures.frame import Frame
from jointkd.students.derivatives import predict
from jointkd.training.loss import AtomicEnergy, Energy, Forces, Hessian
from jointkd.training.weighted_sum import weighted_sum
from tests.benchmarks.solvated import numbers_of

CONFIGS = Path(__file__).parents[2] / "conf" / "student"
ROWS = 4
DEMO = {"width": 48, "layers": 3, "radial": 24, "cutoff": 4.5, "conservative": True}  # conf/recipe/demo_painn.yaml


def amino_acids(path: Path) -> Iterator[Frame]:
    rng = np.random.default_rng(0)
    with h5py.File(path) as file:
        for name in file:
            numbers = numbers_of(file[name])
            for conformation in file[name]["conformations"]:
                yield labelled(rng, numbers, 10 * np.asarray(conformation, dtype=float), group=name)


def crystals(count: int) -> Iterator[Frame]:
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(range(5), range(3), range(2)), -1).reshape(-1, 3) * 2.4 + 1
    for number in range(count):
        positions = grid + rng.normal(scale=0.1, size=grid.shape)
        cell = np.diag([12.0, 7.2, 4.8])
        numbers = rng.choice([8, 22, 38], len(grid))
        yield labelled(rng, numbers, positions, cell=cell, pbc=np.ones(3, dtype=bool), group=f"{number // 10}")


def labelled(rng: np.random.Generator, numbers: np.ndarray, positions: np.ndarray, **more: Any) -> Frame:
    return Frame(
        numbers, positions, energy=float(rng.normal()), forces=rng.normal(size=positions.shape), source="made", **more
    )


def labels_of(data: DistillationData, path: Path) -> LabelStore:
    """Random labels of all training and test structures."""
    store = LabelStore.create(path, TeacherIdentity("random", "0" * 64, "float32", (1,), {}), {"rows": ROWS})
    rng = np.random.default_rng(1)
    frames = [frame for split in ("train", "test") for frame in data.frames[split]]
    for start in range(0, len(frames), 256):
        labels = {}
        for frame in frames[start : start + 256]:
            count = len(frame)
            labels[frame.key] = TeacherLabels(
                energy=0.0,
                atomic_energies=rng.normal(size=count),
                forces=rng.normal(size=(count, 3)).astype("f4"),
                hessian_rows=rng.normal(size=(ROWS, count, 3)).astype("f4"),
                directions=rng.choice(3 * count, ROWS, replace=False),
            )
        store.append(labels)
    return store


def stepper(student: Any, device: str) -> Callable[[Any], None]:
    terms = {"energy": Energy(5, "mae"), "forces": Forces(100, "l2")}
    terms |= {"atomic_energy": AtomicEnergy(20, "mae"), "hessian": Hessian(400, "l2", rows=1)}
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-6)

    def step(batch: Any) -> None:
        batch = batch.to(device)
        prediction = predict(student, batch, batch.row_ids)
        loss, _ = weighted_sum(terms, {name: term(prediction, batch) for name, term in terms.items()})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def measure(
    case: str, frames: Iterator[Frame], name: str, arguments: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    options = DEMO if case == "demo" else {}
    student = instantiate({**OmegaConf.load(CONFIGS / f"{name}.yaml"), **options}).to(arguments.device)

    def read() -> tuple[Iterator[Frame], dict[int, float]]:
        return frames, {}

    made = DistillationData(ReaderData(name=case, read=read, split=Split(), max_force=1e3, prepared=str(folder)))
    started = time.perf_counter()
    data = DistillationData(
        replace(
            made.options,
            reference_energies="fit",
            batch_size=arguments.batch_size,
            workers=arguments.workers,
            prepared=str(made.source.path),
        )
    )
    opening = time.perf_counter() - started
    data.prepare_neighbors(student.cutoff, torch.float32)
    data.fit_references()
    started = time.perf_counter()
    neighbors_of(data.source, student.cutoff)
    searching = time.perf_counter() - started
    store = labels_of(data, folder / "labels")
    data.join(store, train_rows=1, eval_rows=1)
    step = stepper(student, arguments.device)
    loading = loader_milliseconds(data, arguments)
    loader = data.train_dataloader()
    alone, real = [], []
    for epoch in range(arguments.epochs + 1):
        loader.batches.set_epoch(epoch)
        there = list(islice(loader, arguments.steps + 1))
        loaded = iter(loader)
        step(next(loaded))  # workers have started, and so has the device
        pair = [(alone, iter(there[1:])), (real, islice(loaded, arguments.steps))]
        for times, batches in pair if epoch % 2 else reversed(pair):
            times.append(seconds(step, batches, arguments))
        del loaded
    alone, real = alone[1:], real[1:]
    sizes = [
        sum(file.stat().st_size for file in place.iterdir()) for place in data.source.path.iterdir() if place.is_dir()
    ]
    return {
        "case": case,
        "student": name,
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
        "structures": len(data.source),
        "batch": arguments.batch_size,
        "edges": there[0].edge_index.shape[1],
        "opening_s": round(opening, 3),
        "neighbor_search_s": round(searching, 1),
        "neighbors_mb": round(sum(sizes) / 1e6, 1),
        "loader_ms": round(loading, 2),
        "workers": arguments.workers,
        "step_ms": round(1e3 * statistics.median(alone) / arguments.steps, 1),
        "step_with_loader_ms": round(1e3 * statistics.median(real) / arguments.steps, 1),
        "ratio": round(statistics.median(b / a for a, b in zip(alone, real, strict=True)), 3),
    }


def loader_milliseconds(data: DistillationData, arguments: argparse.Namespace) -> float:
    """Median process time of one batch, loaded in this process."""
    data.workers = 0
    batches = iter(data.train_dataloader())
    next(batches)
    times = []
    for _ in range(min(40, len(data.train_dataloader()) - 1)):
        started = time.process_time()
        next(batches)
        times.append(time.process_time() - started)
    data.workers = arguments.workers
    return 1e3 * statistics.median(times)


def seconds(step: Callable[[Any], None], batches: Iterator[Any], arguments: argparse.Namespace) -> float:
    """Time of a step on each batch."""
    alone = arguments.device == "cpu" and not arguments.workers
    clock = time.process_time if alone else time.perf_counter
    started = clock()
    for batch in batches:
        step(batch)
    if arguments.device == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="SPICE's solvated amino acids")
    parser.add_argument("--cases", nargs="+", default=["demo", "amino acids", "crystals"])
    parser.add_argument("--students", nargs="+", default=["painn"])
    parser.add_argument("--crystals", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    frames = {
        "demo": lambda: iter(extxyz.read(str(PACKAGE / "demo" / "conformations.xyz.gz"))[0]),
        "amino acids": lambda: amino_acids(arguments.path),
        "crystals": lambda: crystals(arguments.crystals),
    }
    for case in arguments.cases:
        for name in ["painn"] if case == "demo" else arguments.students:
            with TemporaryDirectory() as folder:
                print(json.dumps(measure(case, frames[case](), name, arguments, Path(folder))), flush=True)


if __name__ == "__main__":
    main()

"""Time and memory of a training step of each student on four solvated amino acids (362 atoms), float32, one thread.

    python -m tests.benchmarks.students ../shared/data/spice/solvated-amino-acids.hdf5

The file is SPICE's own (geometries in nanometres, no energies); targets are random numbers. Each case runs in a
process of its own and prints one line of JSON: the median of process time, the time of a fixed matrix product beside
it to compare machines by, and the peak of memory above what was in use before.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from jointkd.runtime import keep_freed_memory
from jointkd.structures.batch import Structure, collate
from jointkd.students.derivatives import predict
from jointkd.training.loss import AtomicEnergy, Energy, Forces, Hessian
from jointkd.training.weighted_sum import weighted_sum
from tests.benchmarks.solvated import NAMES, structures

CONFIGS = Path(__file__).parents[2] / "conf" / "student"
MOST_ROWS = 4


def training_step(
    path: Path, name: str, options: dict[str, Any], rows: int, graph_beforehand: bool = False
) -> tuple[Callable[[], None], Structure]:
    """A step of the joint objective with `rows` Hessian rows, or of energies and forces alone; and its batch.

    Its graph is made within the step, or beforehand, as the loader does.
    """
    torch.manual_seed(0)
    student = instantiate({**OmegaConf.load(CONFIGS / f"{name}.yaml"), **options})
    batch = collate(structures(path, student.cutoff, len(NAMES), MOST_ROWS, student.max_neighbors))
    terms = {"energy": Energy(5, "mae"), "forces": Forces(100, "l2")}
    if rows:
        terms |= {"atomic_energy": AtomicEnergy(20, "mae"), "hessian": Hessian(400, "l2", rows)}
        assert batch.hessian_rows is not None
        batch = replace(batch, hessian_rows=batch.hessian_rows[:, :rows].contiguous())
    if graph_beforehand:
        batch = replace(batch, graph=student.graph_of(batch))
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, amsgrad=True)

    def step() -> None:
        prediction = predict(student, batch, batch.row_ids[:, :rows] if rows else None)
        loss, _ = weighted_sum(terms, {key: term(prediction, batch) for key, term in terms.items()})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step, batch


def measure(path: Path, name: str, options: dict[str, Any], rows: int, steps: int) -> dict[str, Any]:
    """The time and memory of one case."""
    step, batch = training_step(path, name, options, rows, graph_beforehand=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    left, right = torch.randn(16384, 128), torch.randn(128, 384)
    times, products = [], []
    for turn in range(steps + 2):
        start = time.process_time()
        step()
        middle = time.process_time()
        torch.mm(left, right)
        if turn >= 2:
            times.append(middle - start)
            products.append(time.process_time() - middle)
    return {
        "student": name,
        **options,
        "rows": rows,
        "atoms": len(batch.positions),
        "edges": batch.edge_index.shape[1],
        "cpu_ms": round(1e3 * statistics.median(times)),
        "matrix_product_ms": round(1e3 * statistics.median(products), 1),
        "peak_mb": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--students", nargs="+", default=sorted(file.stem for file in CONFIGS.glob("[!_]*.yaml")))
    parser.add_argument("--rows", nargs="+", type=int, default=[0, 1, 4])
    parser.add_argument("--max-neighbors", type=int, help="cap neighbours as the prior art does")
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    options = {"max_neighbors": arguments.max_neighbors} if arguments.max_neighbors else {}
    cases = [(student, rows) for student in arguments.students for rows in arguments.rows]
    if len(cases) == 1:
        torch.set_num_threads(1)
        keep_freed_memory()  # as training on a CPU does
        print(json.dumps(measure(arguments.path, *(cases[0][0], options, cases[0][1], arguments.steps))), flush=True)
        return
    more = [f"--steps={arguments.steps}", *(f"--{key.replace('_', '-')}={value}" for key, value in options.items())]
    for student, rows in cases:
        case = [str(arguments.path), "--students", student, "--rows", str(rows), *more]
        subprocess.run([sys.executable, "-m", "tests.benchmarks.students", *case], check=True)


if __name__ == "__main__":
    main()

"""What each kernel of `jointkd.students.kernels` gains in a training step, one thread.

    python -m tests.benchmarks.kernels ../shared/data/spice/solvated-amino-acids.hdf5 --student painn --rows 1

Every kernel alone is switched off against all on, in turns in one process: the median over turns of the ratio of
process times, with its quartiles. oneDNN is switched on or off whatever the processor. Memory is the peak above what
was in use before, in a process for each kernel in which all large tensors go back to the system when they are freed.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from jointkd.runtime import keep_freed_memory
from jointkd.students import gemnet, operations, painn
from jointkd.students.kernels import onednn
from jointkd.students.kernels.blocks import Blocks
from tests.benchmarks.students import training_step

NEVER = 2**62


def without_forces_of(module: Any) -> Any:
    """Rows begin at the forces of all atoms."""
    own = module.Prediction
    return patch.object(module, "Prediction", lambda energies, forces=None, forces_of=None: own(energies, forces))


SWITCHES: dict[str, Callable[[], Any]] = {
    "all on": lambda: patch.object(operations, "NEVER", NEVER, create=True),
    "activation": lambda: patch.object(operations, "SMALL_ACTIVATION", NEVER),
    "bands": lambda: patch.object(operations, "SMALL_BASIS", NEVER),
    "blocks": lambda: patch.object(Blocks, "of", lambda graph, structure: None),
    "blocks and pair list": lambda: patch.object(operations, "SMALL_GRAPH", NEVER),
    "grouped triplets": lambda: patch.object(operations, "SMALL_TRIPLETS", NEVER),
    "oneDNN on": lambda: patch.object(onednn, "is_faster", lambda: True),
    "oneDNN off": lambda: patch.object(onednn, "is_faster", lambda: False),
    "forces_of, painn": lambda: without_forces_of(painn),
    "forces_of, gemnet": lambda: without_forces_of(gemnet),
}


def compare(step: Callable[[], None], names: list[str], turns: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in names}
    left, right, products = torch.randn(16384, 128), torch.randn(128, 384), []
    for turn in range(turns + 2):
        for name in names if turn % 2 else names[::-1]:
            with SWITCHES[name]():
                start = time.process_time()
                step()
                middle = time.process_time()
            torch.mm(left, right)
            if turn >= 2:
                times[name].append(middle - start)
                products.append(time.process_time() - middle)
    print(json.dumps({"matrix_product_ms": round(1e3 * statistics.median(products), 1)}), flush=True)
    for name in names:
        ratios = [mine / all_on for mine, all_on in zip(times[name], times["all on"], strict=True)]
        quartiles = [round(value, 3) for value in statistics.quantiles(ratios, n=4)]
        result = {"off": name, "cpu_ms": round(1e3 * statistics.median(times[name])), "of all on": quartiles}
        print(json.dumps(result), flush=True)


def memory(step: Callable[[], None], name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with SWITCHES[name]():
        for _ in range(2):
            step()
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"off": name, "peak_mb": round(peak)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--student", default="painn")
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--max-neighbors", type=int, help="cap neighbours as the prior art does")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--kernels", nargs="+", default=[name for name in SWITCHES if name != "all on"])
    parser.add_argument("--memory", help="measure the memory with this kernel off, and nothing else")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    options = {"max_neighbors": arguments.max_neighbors} if arguments.max_neighbors else {}
    case = arguments.path, arguments.student, options, arguments.rows
    if arguments.memory:
        memory(training_step(*case)[0], arguments.memory)
        return
    names = ["all on", *arguments.kernels]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    for name in names:  # first, because a process inherits the peak of the one that starts it
        command = [sys.executable, "-m", "tests.benchmarks.kernels", *sys.argv[1:], "--memory", name]
        subprocess.run(command, env=environment, check=True)
    keep_freed_memory()
    compare(training_step(*case)[0], names, arguments.turns)


if __name__ == "__main__":
    main()

"""Hessian rows per second and peak memory of MACE teachers, beside `MACECalculator.get_hessian`, on one thread.

    python -m tests.benchmarks.labelling ../shared/data/spice/solvated-amino-acids.hdf5

Models have the shapes of MACE-OFF23 (small: 96x0e, 4.5 Å; large: 192x0e+192x1o+192x2e, 5 Å) and random weights; 25
atoms are the example's capped amino acids with a water, 82 a solvated alanine of SPICE. Each case is a process of its
own that prints one line of JSON. Both ways take turns in it on the same structure, and times are those of the process,
not of the clock; peaks are above what was in use before, each measured in a process of its own. `get_hessian` of the
large model at 82 atoms takes more memory than most machines have: leave it out with `--ways jointkd`, as for
`--atoms 1002`, a periodic box of water.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from ase.io import read

import jointkd
from jointkd.commands.bench import peak_memory
from jointkd.labels.records import TeacherIdentity
from jointkd.runtime import default_dtype
from jointkd.structures.frame import Frame
from jointkd.teachers import mace, mace_model

ELEMENTS = (1, 6, 7, 8, 9, 15, 16, 17, 35, 53)
SIZES = {"small": ("96x0e", 4.5), "large": ("192x0e+192x1o+192x2e", 5.0)}
TOGETHER = {25: 4, 82: 1, 1002: 1}  # structures labelled at once
ROWS = {25: 24, 82: 16, 1002: 4}  # of each; get_hessian always makes all
EXAMPLE = Path(jointkd.__file__).parent / "demo" / "conformations.xyz.gz"


def model(size: str, dtype: torch.dtype) -> Any:
    irreps, cutoff = SIZES[size]
    shape = {
        "r_max": cutoff, "num_bessel": 8, "num_polynomial_cutoff": 5, "max_ell": 3, "num_interactions": 2,
        "hidden_irreps": irreps, "mlp_irreps": "16x0e", "correlation": 3, "radial_mlp": [64, 64, 64],
        "avg_num_neighbors": 12.0, "scale": 1.0, "shift": 0.0,
    }  # fmt: skip
    mace.import_mace()
    torch.manual_seed(0)
    with default_dtype(dtype):
        return mace_model.build({"free_atom_energies": {str(z): 0.0 for z in ELEMENTS}, "architecture": shape})


def teacher(size: str, dtype: str, device: str = "cpu") -> mace.MaceTeacher:
    identity = TeacherIdentity(size, "random", dtype, ELEMENTS, dict.fromkeys(ELEMENTS, 0.0))
    return mace.MaceTeacher(model(size, getattr(torch, dtype)).to(device), identity, device, None)


def frames(path: Path, atoms: int) -> list[Frame]:
    """As many structures of that size as are labelled at once."""
    if atoms == 1002:
        return [water_box(334)]
    if atoms == 25:
        found = [image for image in read(EXAMPLE, ":") if len(image) == atoms]
        return [Frame(image.numbers, image.positions) for image in found[: TOGETHER[atoms]]]
    with h5py.File(path) as file:
        mapped = re.findall(r"\[([A-Za-z])[^:\]]*:(\d+)\]", file["ALA"]["smiles"][0].decode())
        symbols = {int(number): symbol.upper() for symbol, number in mapped}
        numbers = np.array([atomic_numbers[symbols[number + 1]] for number in range(len(symbols))])
        return [Frame(numbers, 10 * np.asarray(file["ALA"]["conformations"][0], dtype=np.float64))]


def water_box(molecules: int) -> Frame:
    """Water of 0.1 atoms per cubic ångström on a grid, each molecule turned at random."""
    rng = np.random.default_rng(0)
    side = (3 * molecules / 0.1) ** (1 / 3)
    steps = int(np.ceil(molecules ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(steps)] * 3), -1).reshape(-1, 3)[:molecules] * side / steps
    water = np.array([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]])
    turned = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in grid]
    positions = np.concatenate([at + water @ turn for at, turn in zip(grid, turned, strict=True)])
    return Frame(np.tile([8, 1, 1], molecules), positions, side * np.eye(3), np.ones(3, dtype=bool))


def measure(path: Path, size: str, dtype: str, atoms: int, way: str, turns: int) -> dict[str, Any]:
    structures = frames(path, atoms)
    works: dict[str, Any] = {}
    rows: dict[str, int] = {}
    if way != "get_hessian":
        ours = teacher(size, dtype)
        ids = [np.linspace(0, 3 * len(frame) - 1, ROWS[atoms]).astype(int) for frame in structures]
        ours.label(structures[:1], [ids[0][:1]])
        works["jointkd"], rows["jointkd"] = lambda: ours.label(structures, ids), sum(map(len, ids))
    if way != "jointkd":
        from mace.calculators import MACECalculator

        theirs = MACECalculator(models=[model(size, getattr(torch, dtype))], device="cpu", default_dtype=dtype)
        image = Atoms(structures[0].numbers, structures[0].positions)
        theirs.get_hessian(image[:3])
        works["get_hessian"], rows["get_hessian"] = lambda: theirs.get_hessian(image), 3 * len(image)
    found: dict[str, Any] = {"size": size, "dtype": dtype, "atoms": atoms, "structures": len(structures)}
    if way != "both":
        return {**found, "way": way, "rows": rows[way], "peak_mb": peak_memory(works[way])}
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(turns):
        for name in works if turn % 2 else reversed(works):
            started = time.process_time()
            works[name]()
            times[name].append((time.process_time() - started) / rows[name])
    rates = {name: 1 / statistics.median(values) for name, values in times.items()}
    return {
        **found,
        **{f"{name}_rows_per_s": round(rate, 2) for name, rate in rates.items()},
        "times_faster": round(rates["jointkd"] / rates["get_hessian"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES))
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    parser.add_argument("--atoms", nargs="+", type=int, default=[25, 82])
    parser.add_argument("--ways", nargs="+", default=["both", "jointkd", "get_hessian"])
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    cases = [(s, d, a, w) for a in given.atoms for s in given.sizes for d in given.dtypes for w in given.ways]
    if len(cases) == 1:
        torch.set_num_threads(1)
        print(json.dumps(measure(given.path, *cases[0], given.turns)), flush=True)
        return
    for size, dtype, atoms, way in cases:
        case = ["--sizes", size, "--dtypes", dtype, "--atoms", str(atoms), "--ways", way, "--turns", str(given.turns)]
        subprocess.run([sys.executable, "-m", "tests.benchmarks.labelling", str(given.path), *case], check=True)


if __name__ == "__main__":
    main()

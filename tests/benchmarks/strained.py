"""The example with six more training frames, in each of which one bond is far too short: GFN2-xTB."""

import gzip
import io
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read, write

from jointkd.cli.config_tree import PACKAGE
from jointkd.demo.sample import calculator, frozen

FRAMES = 6
SHORTENED = 0.75  # to that part of its length


def write_strained(path: Path) -> None:
    text = gzip.decompress((PACKAGE / "demo" / "conformations.xyz.gz").read_bytes()).decode()
    frames = read(io.StringIO(text), index=":", format="extxyz")
    training = [atoms for atoms in frames if atoms.info.get("split") == "train"]
    chosen = training[:: len(training) // FRAMES]
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, [*frames, *map(strained, chosen)], format="extxyz", write_results=True)


def strained(atoms: Atoms) -> Atoms:
    """A copy whose first bond between heavy atoms is short, with its own energy and forces."""
    copy = Atoms(atoms.numbers, atoms.positions)
    distances = copy.get_all_distances()
    heavy = np.outer(copy.numbers > 1, copy.numbers > 1) & (distances > 0)
    first, second = np.unravel_index(np.where(heavy, distances, np.inf).argmin(), distances.shape)
    copy.set_distance(first, second, SHORTENED * distances[first, second])
    copy.calc = calculator()
    return frozen(copy, **{name: atoms.info[name] for name in ("config_type", "group", "split")})

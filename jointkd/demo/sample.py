"""Generates the data of the embedded example: molecular dynamics of solvated amino acids with GFN2-xTB.

`python -m jointkd.demo.sample --out DIRECTORY` writes `conformations.xyz.gz` (the data set that ships, with its
splits) and `teacher_training.xyz.gz` (the larger set for the training of the example's teacher).
It needs the extra `demo` (tblite, rdkit). Every trajectory has its own seed, so the result does not depend on the
number of processes.
"""

import argparse
import multiprocessing
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.md.langevin import Langevin
from ase.optimize import FIRE

from jointkd.demo.molecules import DOMAIN, RELATIVES
from jointkd.simulation.dynamics import thermalize

MULTIPLICITIES = {"H": 2, "C": 3, "N": 4, "O": 3}
MAX_FORCE = 25.0  # eV/Å; a trajectory ends at larger forces, which mean that a molecule breaks apart


class Trajectory(NamedTuple):
    """The settings of one trajectory of molecular dynamics."""

    molecule: str
    smiles: str
    waters: int
    temperature: float  # K
    seed: int
    equilibration: int  # fs
    interval: int  # fs between structures
    frames: int
    split: str


def domain_trajectories() -> list[Trajectory]:
    """Short trajectories at 400 K; each belongs to one split."""
    plan = [("train", 1, 2), ("val", 1, 3), ("test", 2, 3)]
    return [
        Trajectory(name, smiles, waters, 400.0, seed, 200, 100, frames, split)
        for number, (name, smiles) in enumerate(DOMAIN.items())
        for waters in (0, 1, 2)
        for split, repeats, frames in plan
        for seed in (1000 * number + 100 * waters + 10 * len(split) + r for r in range(repeats))
    ]


def teacher_trajectories(count: int = 400, frames: int = 16) -> list[Trajectory]:
    """`count` trajectories at 300–800 K of the molecules of the subdomain and others, with 0–3 waters."""
    rng = np.random.default_rng(20261122)
    molecules = list({**DOMAIN, **RELATIVES}.items()) + 2 * list(DOMAIN.items())
    chosen = []
    for number in range(count):
        name, smiles = molecules[number % len(molecules)]
        waters = int(rng.integers(1, 7) if name == "water" else rng.integers(0, 4))
        temperature = float(rng.uniform(300, 800))
        chosen.append(Trajectory(name, smiles, waters, temperature, 10**6 + number, 60, 12, frames, "teacher"))
    return chosen


def calculator(multiplicity: int = 1) -> Any:
    """GFN2-xTB as an ASE calculator."""
    from tblite.ase import TBLite

    return TBLite(method="GFN2-xTB", multiplicity=multiplicity, verbosity=0)


def isolated_atoms() -> list[Atoms]:
    """The four free atoms in their ground-state multiplicity, which define the zero of energy."""
    atoms = []
    for symbol, multiplicity in MULTIPLICITIES.items():
        atom = Atoms(symbol, positions=[[0.0, 0.0, 0.0]])
        atom.calc = calculator(multiplicity)
        atoms.append(frozen(atom, config_type="IsolatedAtom"))
    return atoms


def molecule(smiles: str, seed: int) -> Atoms:
    """A conformer of a molecule, by RDKit's distance geometry and MMFF."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    graph = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMolecule(graph, randomSeed=seed)
    rdForceFieldHelpers.MMFFOptimizeMolecule(graph)
    return Atoms([a.GetSymbol() for a in graph.GetAtoms()], graph.GetConformer().GetPositions())


def solvated(atoms: Atoms, waters: int, rng: np.random.Generator) -> Atoms:
    """`atoms` with `waters` water molecules at its surface, at distances above 1.9 Å."""
    water = molecule("O", 1)
    water.positions -= water.positions[0]
    placed = 0
    while placed < waters:
        candidate = water.copy()
        candidate.euler_rotate(*rng.uniform(0, 360, 3))
        direction = rng.normal(size=3)
        anchor = atoms.positions[rng.integers(len(atoms))]
        candidate.positions += anchor + direction / np.linalg.norm(direction) * rng.uniform(2.6, 3.4)
        distances = np.linalg.norm(candidate.positions[:, None] - atoms.positions[None], axis=-1)
        if distances.min() > 1.9:
            atoms = atoms + candidate
            placed += 1
    return atoms


def frozen(atoms: Atoms, **info: str) -> Atoms:
    """A centred copy without velocities, with its energy (eV) and forces (eV/Å) as stored results."""
    copy = Atoms(atoms.numbers, atoms.positions - atoms.positions.mean(0))
    copy.calc = SinglePointCalculator(copy, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
    copy.info.update(info)
    return copy


def run(trajectory: Trajectory) -> list[Atoms]:
    """The structures of one trajectory: Langevin dynamics with a time step of 1 fs, or of 0.5 fs above 600 K."""
    rng = np.random.default_rng(trajectory.seed)
    atoms = solvated(molecule(trajectory.smiles, trajectory.seed), trajectory.waters, rng)
    atoms.calc = calculator()
    FIRE(atoms, logfile=None).run(fmax=1.0, steps=40)
    thermalize(atoms, trajectory.temperature, rng)
    steps_per_fs = 1 if trajectory.temperature <= 600 else 2
    dynamics = Langevin(
        atoms,
        units.fs / steps_per_fs,
        temperature_K=trajectory.temperature,
        friction=0.02 / units.fs,
        fixcm=False,
        rng=rng,
    )
    frames: list[Atoms] = []
    dynamics.run(trajectory.equilibration * steps_per_fs)
    while len(frames) < trajectory.frames and np.abs(atoms.get_forces()).max() < MAX_FORCE:
        name = f"{trajectory.molecule}_{trajectory.waters}w"
        group = f"{name}_{trajectory.seed}"
        frames.append(frozen(atoms, config_type=name, group=group, split=trajectory.split))
        dynamics.run(trajectory.interval * steps_per_fs)
    return frames


def attempt(trajectory: Trajectory) -> list[Atoms]:
    """The result of `run`, or no structures if the self-consistent field does not converge."""
    from ase.calculators.calculator import CalculationFailed

    try:
        return run(trajectory)
    except (CalculationFailed, RuntimeError) as error:
        print(f"left out {trajectory.molecule} seed {trajectory.seed}: {error}", flush=True)
        return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/demo_source"))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    arguments.out.mkdir(parents=True, exist_ok=True)
    sets = {"conformations": domain_trajectories(), "teacher_training": teacher_trajectories()}
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        for name, trajectories in sets.items():
            target = arguments.out / f"{name}.xyz.gz"
            if target.exists():
                print(f"{target} exists already", flush=True)
                continue
            frames = isolated_atoms()
            for done, new in enumerate(pool.imap(attempt, trajectories), 1):
                frames += new
                if done % 20 == 0:
                    print(f"{name}: {done}/{len(trajectories)} trajectories, {len(frames)} frames", flush=True)
            write(target, frames, format="extxyz", write_results=True)


if __name__ == "__main__":
    main()

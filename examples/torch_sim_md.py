"""Relax molecules and run Langevin dynamics of all of them at once, with a student in torch-sim.

python examples/torch_sim_md.py FOLDER molecules.xyz
"""

import sys
from collections.abc import Sequence

import torch_sim as ts
from ase.io import read

import jointkd


def main(student: str, structures: str, steps: int = 1000) -> None:
    """student: a run's folder or a student's file; structures: all periodic, or none; steps: of 0.5 fs."""
    model = jointkd.load(student).torch_sim()
    atoms = read(structures, ":")
    assert isinstance(atoms, Sequence)
    relaxed = ts.optimize(list(atoms), model, optimizer=ts.Optimizer.fire, max_steps=200)
    print(f"{len(atoms)} structures relaxed to {relaxed.energy.tolist()} eV")
    moved = ts.integrate(
        relaxed,
        model,
        integrator=ts.Integrator.nvt_langevin,
        n_steps=steps,
        temperature=300,
        timestep=0.0005,  # ps
        trajectory_reporter={
            "filenames": [f"trajectory-{number}.h5" for number in range(len(atoms))],
            "state_frequency": 50,
        },
    )
    for number, (energy, temperature) in enumerate(zip(moved.energy, moved.calc_temperature(), strict=True)):
        print(f"trajectory-{number}.h5: {energy:.4f} eV and {temperature:.0f} K after {steps * 0.5:g} fs")


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:4]))

"""The radial distribution of a periodic structure that moves."""

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin

from jointkd.simulation.start import thermalize
from jointkd.structures.neighbors import find_pairs, lengths

KELVIN, FRICTION, TIMESTEP = 300.0, 0.01, 1.0  # K, 1/fs, fs
REACH, BINS = 6.0, 60  # Å
SAMPLES = 50  # in the second half of the time


def radial_distribution(atoms: Atoms, time: float, seed: int) -> np.ndarray:
    """[BINS] numbers of neighbours by distance up to REACH, in dynamics with the calculator of the atoms. time: ps."""
    rng = np.random.default_rng(seed)
    thermalize(atoms, KELVIN, rng)
    dynamics = Langevin(
        atoms, TIMESTEP * units.fs, temperature_K=KELVIN, friction=FRICTION / units.fs, fixcm=False, rng=rng
    )
    half = max(1, round(1000 * time / TIMESTEP / 2))
    dynamics.run(half)
    counts = np.zeros(BINS)
    for _ in range(min(SAMPLES, half)):
        dynamics.run(max(1, half // SAMPLES))
        apart = lengths(
            find_pairs(atoms.positions, atoms.cell.array, atoms.pbc, REACH), atoms.positions, atoms.cell.array
        )
        counts += np.histogram(apart, BINS, (0, REACH))[0]
    return counts

"""Files with the layout of MPtrj_2022.9_full.json and made-up crystals and numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk


def entry(atoms: Atoms, mp_id: str, energy: float, bandgap: float, rng: np.random.Generator) -> dict[str, Any]:
    """One frame of one relaxation; the corrected energy is lower by 0.7 eV per oxygen atom."""
    cell, count = atoms.cell, len(atoms)
    sites = [
        {
            "species": [{"element": symbol, "occu": 1}],
            "abc": abc.tolist(),
            "xyz": xyz.tolist(),
            "label": symbol,
            "properties": {"magmom": -0.0},
        }
        for symbol, abc, xyz in zip(atoms.symbols, atoms.get_scaled_positions(wrap=False), atoms.positions, strict=True)
    ]
    lattice = dict(zip(("a", "b", "c", "alpha", "beta", "gamma"), cell.cellpar().tolist(), strict=True))
    corrected = energy - 0.7 * int((atoms.numbers == 8).sum())
    return {
        "structure": {
            "@module": "pymatgen.core.structure",
            "@class": "Structure",
            "charge": 0.0,
            "lattice": {"matrix": cell.array.tolist(), **lattice, "volume": float(cell.volume)},
            "sites": sites,
        },
        "uncorrected_total_energy": energy,
        "corrected_total_energy": corrected,
        "energy_per_atom": corrected / count,
        "ef_per_atom": -1.5,
        "e_per_atom_relaxed": corrected / count,
        "ef_per_atom_relaxed": -1.5,
        "force": rng.normal(scale=0.1, size=(count, 3)).tolist(),
        "stress": rng.normal(size=(3, 3)).tolist(),
        "magmom": None,
        "bandgap": bandgap,
        "mp_id": mp_id,
    }


def materials() -> list[tuple[str, Atoms, float]]:
    """Crystals with made-up identifiers and band gaps in eV."""
    perovskite = Atoms(
        "SrTiO3", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
        cell=3.9 * np.eye(3), pbc=True,
    )  # fmt: skip
    nitride = bulk("YN", "rocksalt", a=4.9)
    return [
        ("mp-1", perovskite, 1.8),
        ("mp-2", bulk("MgO", "rocksalt", a=4.2), 5.6),
        ("mp-3", nitride, 0.2),
        ("mp-4", bulk("Po", "sc", a=3.3), 0.0),
        ("mp-5", bulk("Ne", "fcc", a=4.4), 11.0),
    ]


def write(path: Path, frames: int = 3, repeat: int = 1) -> Path:
    """A relaxation of `frames` steps of each material, along which the energy falls and the cell shrinks."""
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {}
    for mp_id, atoms, bandgap in materials():
        content[mp_id] = {}
        for step in range(frames):
            crystal = atoms.repeat(repeat)
            crystal.set_cell(crystal.cell * (1.02 - 0.01 * step), scale_atoms=True)
            energy = -5.0 * len(crystal) - 0.1 * step
            content[mp_id][f"{mp_id}-0-{step}"] = entry(crystal, mp_id, energy, bandgap, rng)
    path.write_text(json.dumps(content))
    return path


def large(path: Path, megabytes: int, most_frames: int = 300) -> int:
    """Write a file of about that size; returns the number of frames.

    Frames have 31 atoms and materials 11 frames, which are the means of MPtrj, but one material has 186 atoms and
    `most_frames` frames.
    """
    rng = np.random.default_rng(0)
    frames = number = 0
    with path.open("w") as file:
        while file.tell() < megabytes * 1e6:
            mp_id, count = f"mp-{number}", most_frames if number == 2 else 11
            grid = np.argwhere(np.ones((4, 4, 2)))[1:] * (2.2, 2.2, 3.0)
            atoms = Atoms("Y4Ti8O19", grid + rng.normal(scale=0.05, size=(31, 3)), cell=[8.8, 8.8, 6.0], pbc=True)
            atoms = atoms.repeat((1, 1, 6)) if number == 2 else atoms
            steps = {}
            for step in range(count):
                atoms.rattle(0.01, rng=rng)
                steps[f"{mp_id}-0-{step}"] = entry(atoms, mp_id, -7.0, 1.0, rng)
            file.write(f"{', ' if number else '{'}{json.dumps(mp_id)}: {json.dumps(steps)}")
            frames, number = frames + count, number + 1
        file.write("}")
    return frames

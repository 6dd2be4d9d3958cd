"""Atoms in LAMMPS, and back."""

from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_masses

from jointkd.deploy.lammps import box

STRESS = ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")  # ASE's order


def fill(lmp: Any, atoms: Atoms, unit_style: str) -> None:
    """Put atoms into a LAMMPS, with types in the order of atomic numbers."""
    atoms = atoms.copy()
    if not atoms.pbc.any():
        atoms.center(vacuum=5)
    atoms.wrap()
    types = sorted(set(atoms.numbers.tolist()))
    (x, _, _), (xy, y, _), (xz, yz, z) = atoms.cell.array.tolist()
    lmp.commands_string(f"""
        units {unit_style}
        atom_style atomic
        atom_modify map array
        boundary {" ".join("p" if periodic else "s" for periodic in atoms.pbc)}
        region all prism 0 {x!r} 0 {y!r} 0 {z!r} {xy!r} {xz!r} {yz!r}
        box tilt large
        create_box {len(types)} all
        pair_style zero 2.0
        pair_coeff * *""")
    order = [types.index(z) + 1 for z in atoms.numbers]
    lmp.create_atoms(len(atoms), list(range(1, len(atoms) + 1)), order, atoms.positions.flatten().tolist())
    assert lmp.get_natoms() == len(atoms)
    for number, z in enumerate(types, start=1):
        lmp.command(f"mass {number} {atomic_masses[z]}")
    lmp.commands_string(f"""
        thermo_style custom step temp pe etotal {" ".join(STRESS)}
        timestep 0.0005
        compute atomic all pe/atom
        thermo_modify norm no""")


def of_lammps(lmp: Any, count: int) -> tuple[np.ndarray, ...]:
    """Numbers of types, positions and forces in the order in which the atoms were created."""
    order = np.argsort(lmp.numpy.extract_atom("id")[:count])
    return tuple(np.array(lmp.numpy.extract_atom(name)[:count])[order] for name in ("type", "x", "f"))


def now(lmp: Any, atoms: Atoms) -> Atoms:
    """The atoms of LAMMPS as they are, with the elements of these."""
    _, positions, _ = of_lammps(lmp, len(atoms))
    cell, pbc = box(lmp)
    return Atoms(atoms.numbers, positions, cell=cell, pbc=pbc)


def symbols(atoms: Atoms) -> list[str]:
    """The element of each type."""
    return list(Atoms(sorted(set(atoms.numbers.tolist()))).symbols)


def loose(atoms: Atoms) -> Atoms:
    """Atoms with random displacements."""
    atoms = atoms.copy()
    atoms.rattle(0.05, seed=1)
    return atoms


SALT = loose(bulk("NaCl", "rocksalt", a=5.64, cubic=True))

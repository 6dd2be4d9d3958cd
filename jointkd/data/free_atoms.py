"""Energies of free atoms, by the kind of calculation that a data set's total energies come from."""

from collections.abc import Mapping, Sequence

import numpy as np

from jointkd.structures.columns import composition, elements_of, energies_of, numbers_of
from jointkd.structures.frame import Frame

BINDING = (-15.0, 2.0)  # eV/atom; energies of atoms in molecules and solids, relative to free atoms, lie between these

# eV by atomic number. Those of density functional theory with all electrons (effective core potential for I) depend
# little on the functional: at ωB97X/6-31G(d) those of C, N and O are 1 to 2 eV higher. Pseudopotentials change them.
ALL_ELECTRONS = {  # ωB97M-D3(BJ)/def2-TZVPPD, of SPICE (Eastman et al., Sci. Data 10, 11 (2023))
    1: -13.571965,
    6: -1030.567165,
    7: -1486.375026,
    8: -2043.933693,
    9: -2715.318529,
    15: -9287.407133,
    16: -10834.484471,
    17: -12522.649269,
    35: -70045.283851,
    53: -8102.524593,
}
GFN2 = {1: -10.707211, 6: -48.798080, 7: -70.908087, 8: -102.521807}  # GFN2-xTB, tblite 0.8.0
TABLES = {"density functional theory with all electrons": ALL_ELECTRONS, "GFN2-xTB": GFN2}


def known_free_atoms(frames: Sequence[Frame]) -> tuple[str, Mapping[int, float]] | None:
    """The table, by name, that holds all elements of `frames` and to which their energies fit as energies of binding.

    None where there is no such table.
    """
    for name, energies in TABLES.items():
        if plausible(frames, energies):
            return name, energies
    return None


def plausible(frames: Sequence[Frame], energies: Mapping[int, float]) -> bool:
    """Whether the energies of frames are those of bonds, relative to free atoms (eV by atomic number)."""
    elements = elements_of(frames)
    if not energies.keys() >= set(elements):
        return False
    free = composition(frames, elements) @ np.array([energies[z] for z in elements])
    binding = (energies_of(frames) - free) / numbers_of(frames)[1]
    return bool(((binding >= BINDING[0]) & (binding <= BINDING[1])).all())

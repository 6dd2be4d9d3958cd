"""How the energy of a crystal depends on its cell: equation of state and elastic constants, with relaxed atoms."""

import warnings
from typing import NamedTuple

import numpy as np
from ase import Atoms, units
from ase.eos import EquationOfState
from ase.stress import voigt_6_to_full_3x3_strain

from jointkd.acceptance.relaxation import relax, with_calculator
from jointkd.errors import DataError, first_line

VOLUMES = np.linspace(0.94, 1.06, 7)  # of that at the minimum
STRAIN = 0.005  # small enough for third-order constants, large enough for stresses of a teacher in single precision


class Curve(NamedTuple):
    """Energies of a crystal at several volumes, and what the equation of Birch and Murnaghan makes of them."""

    volumes: np.ndarray  # [V] Å³/atom
    energies: np.ndarray  # [V] eV/atom, above the lowest
    volume: float  # Å³/atom, in equilibrium
    modulus: float  # GPa, the bulk modulus


def equation_of_state(crystal: Atoms, largest: float) -> Curve:
    """Energies of the cell scaled alike in all directions. crystal: at its minimum; largest: force, eV/Å.

    In crystals that are not cubic the shape of the cell does not follow the volume: the modulus is Voigt's. Raises
    DataError where the energies have no minimum there.
    """
    volumes, energies = [], []
    for factor in VOLUMES:
        scaled = with_calculator(crystal, crystal.calc)
        scaled.set_cell(factor ** (1 / 3) * crystal.cell.array, scale_atoms=True)
        relax(scaled, largest)
        volumes.append(scaled.get_volume() / len(crystal))
        energies.append(scaled.get_potential_energy() / len(crystal))
    rising = np.array(energies) - min(energies)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parameters that the energies do not determine
            volume, _, modulus = EquationOfState(volumes, rising, eos="birchmurnaghan").fit(warn=False)
    except (RuntimeError, ValueError) as error:
        raise DataError(f"the equation of state cannot be fitted ({first_line(error)})", "see E(V)") from error
    if not (volumes[0] < volume < volumes[-1] and modulus > 0):
        span = f"{volumes[0]:.4g} and {volumes[-1]:.4g} Å³/atom"
        raise DataError(f"the energy has no minimum between {span}", "see E(V)")
    return Curve(np.array(volumes), rising, float(volume), float(modulus / units.GPa))


def elastic_constants(crystal: Atoms, largest: float) -> np.ndarray:
    """[6, 6] GPa, symmetric, in Voigt's order xx yy zz yz xz xy: central differences of the stress with relaxed atoms.

    crystal: at its minimum; largest: force, eV/Å.
    """
    columns = []
    for component in np.eye(6):
        ends = []
        for sign in (1, -1):
            strained = with_calculator(crystal, crystal.calc)
            deformation = voigt_6_to_full_3x3_strain(sign * STRAIN * component)
            strained.set_cell(crystal.cell.array @ deformation, scale_atoms=True)
            relax(strained, largest)
            ends.append(strained.get_stress())
        columns.append((ends[0] - ends[1]) / (2 * STRAIN))
    constants = np.array(columns) / units.GPa
    return (constants + constants.T) / 2

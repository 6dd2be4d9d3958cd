"""Formation energies, on made-up phases with known energies, and the distribution of their errors."""

import numpy as np
import pytest
from ase.build import bulk, molecule

from jointkd.evaluation.formation import cumulative_distribution, formation_energies, reference_phases
from jointkd.structures.frame import Frame


def frame(atoms, energy):
    numbers = atoms.numbers.astype(np.int64)
    return Frame(numbers, atoms.positions, atoms.cell.array, atoms.pbc, energy=energy, forces=np.zeros((len(atoms), 3)))


def test_the_reference_phase_of_an_element_is_its_structure_of_lowest_energy_per_atom():
    supercell = bulk("Si", cubic=True)
    phases = reference_phases(
        [
            frame(bulk("Si"), -2 * 5.3),
            frame(supercell, -8 * 5.4),  # larger, and lower per atom
            frame(molecule("SiH4"), -99.0),
            frame(molecule("H2"), -6.7),
            frame(molecule("O2"), None),
        ]
    )
    assert {symbol: len(phase) for symbol, phase in phases.items()} == {"H": 2, "Si": 8}


def test_formation_energies_are_relative_to_the_elements_and_per_atom():
    energies = formation_energies(
        np.array([-15.0, -32.0, -1.0]), ["H2O", "Na4Cl4", "XeF2"], {"H": -3, "O": -5, "Na": -1, "Cl": -2}
    )
    np.testing.assert_allclose(energies[:2], [(-15 + 6 + 5) / 3, (-32 + 4 + 8) / 8])
    assert np.isnan(energies[2])


def test_an_error_that_all_phases_share_has_no_effect_on_formation_energies():
    formulas, counts, rng = ["AB", "A3B", "AB2"], np.array([[1, 1], [3, 1], [1, 2]]), np.random.default_rng(0)
    formulas = [name.replace("A", "Na").replace("B", "Cl") for name in formulas]
    energies, shift = rng.normal(size=3), np.array([0.3, -0.7])
    elements = {"Na": -1.0, "Cl": -2.0}
    shifted = {"Na": -1.0 + 0.3, "Cl": -2.0 - 0.7}
    own = formation_energies(energies + counts @ shift, formulas, shifted)
    np.testing.assert_allclose(own, formation_energies(energies, formulas, elements), atol=1e-12)


def test_a_cumulative_distribution_ends_at_one_and_leaves_out_what_is_no_number():
    errors, share = cumulative_distribution(np.array([3.0, -1.0, np.nan, 2.0]))
    assert errors.tolist() == [1, 2, 3]
    assert share.tolist() == pytest.approx([1 / 3, 2 / 3, 1])

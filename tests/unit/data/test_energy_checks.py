"""All-electron energies in another unit than the options say are refused; other energies are not judged."""

import numpy as np
import pytest

from jointkd.data.energy_checks import check_energies
from jointkd.data.readers.units import ENERGY
from jointkd.errors import DataError

ALL_ELECTRON = {1: -13.6, 6: -1035.0, 7: -1490.0, 8: -2047.0}
VALENCE = {1: -3.4, 6: -9.2, 7: -8.3, 8: -4.9}  # as pseudopotentials that count from reference atoms
PSEUDOPOTENTIALS = {1: -15.9, 6: -155.0, 7: -272.0, 8: -432.0}  # with total energies
COHESIVE = {1: -2.4, 6: -7.4, 7: -5.2, 8: -5.1}
FORMATION = {1: -0.5, 6: -0.1, 7: 0.3, 8: -1.6}
TIGHT_BINDING = {1: -10.7, 6: -48.8, 7: -71.0, 8: -102.5}
KINDS = ((8, 1, 1), (6, 8, 1, 1, 1, 1), (6, 1, 1, 1, 1), (7, 1, 1, 1), (6, 7, 1))


def set_of(atoms, kinds=KINDS, count=40):
    rng = np.random.default_rng(0)
    chosen = [kinds[number % len(kinds)] for number in range(count)]
    energies = [sum(atoms[z] for z in kind) + rng.normal(0, 0.3) for kind in chosen]
    return np.concatenate(chosen), np.cumsum([0, *(len(kind) for kind in chosen)]), np.array(energies)


@pytest.mark.parametrize("unit", [unit for unit in ENERGY if unit != "eV"])
def test_energies_in_another_unit_are_refused(unit):
    numbers, first, energies = set_of(ALL_ELECTRON)
    with pytest.raises(DataError, match=rf"free atoms in {unit} that are read as eV; set data.units.energy"):
        check_energies(numbers, first, energies / ENERGY[unit])
    with pytest.raises(DataError, match=rf"free atoms in eV that are read as {unit}; set data.units.energy"):
        check_energies(numbers, first, energies * ENERGY[unit])


@pytest.mark.parametrize("unit", ["hartree", "kcal/mol", "kJ/mol"])
@pytest.mark.parametrize("atoms", [TIGHT_BINDING, PSEUDOPOTENTIALS])
def test_total_energies_in_another_unit_are_refused_by_that_of_hydrogen(atoms, unit):
    numbers, first, energies = set_of(atoms)
    with pytest.raises(DataError, match=rf"a hydrogen atom has .* eV, .* probably .*in {unit} that are read as eV"):
        check_energies(numbers, first, energies / ENERGY[unit])


def test_an_energy_of_hydrogen_that_is_not_certain_is_not_judged():
    numbers, first, energies = set_of(PSEUDOPOTENTIALS)
    noise = np.random.default_rng(1).normal(0, 3, len(energies)) * np.diff(first)
    check_energies(numbers, first, (energies + noise) / ENERGY["kcal/mol"])


@pytest.mark.parametrize("atoms", [ALL_ELECTRON, VALENCE, TIGHT_BINDING, PSEUDOPOTENTIALS, COHESIVE, FORMATION])
def test_right_energies_pass(atoms):
    check_energies(*set_of(atoms))


@pytest.mark.parametrize("kinds", [KINDS[:1], KINDS[:2], ((6, 1, 1, 1, 1), (6, 6, 1, 1))])
def test_compositions_that_determine_nothing_are_not_judged(kinds):
    numbers, first, energies = set_of(ALL_ELECTRON, kinds)
    check_energies(numbers, first, energies / ENERGY["hartree"])


def test_missing_energies_are_not_judged():
    numbers, first, energies = set_of(ALL_ELECTRON)
    check_energies(numbers, first, np.full(len(energies), np.nan))

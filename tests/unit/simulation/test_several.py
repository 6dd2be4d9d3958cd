"""Which structures are simulated together."""

from typing import Any

import pytest
from ase.build import molecule

from jointkd.errors import ConfigError, DataError
from jointkd.simulation.options import SimulationOptions
from jointkd.simulation.several import chosen, watched_start

STRUCTURES = [molecule(name) for name in ("H2O", "CH3OH", "CH4", "NH3")]


def options_of(**others: Any) -> SimulationOptions:
    return SimulationOptions(**{"run": "", "structures": "f.xyz", "directory": "", **others})


def test_structures_are_chosen_by_number_from_both_ends_or_at_random_and_always_alike():
    assert list(chosen(options_of(index="all"), STRUCTURES)) == [0, 1, 2, 3]
    assert {number: len(atoms) for number, atoms in chosen(options_of(index=[2, -1]), STRUCTURES).items()} == {
        2: 5,
        3: 4,
    }
    drawn = list(chosen(options_of(sample=2), STRUCTURES))
    assert len(drawn) == 2
    assert drawn == list(chosen(options_of(sample=2, seed=7), STRUCTURES))
    with pytest.raises(DataError, match=r"index=4: f\.xyz has 4 structures"):
        chosen(options_of(index=[4]), STRUCTURES)
    with pytest.raises(ConfigError, match=r"sample=5: f\.xyz has 4 structures"):
        chosen(options_of(sample=5), STRUCTURES)


def test_velocities_depend_on_the_seed_and_the_number_of_the_structure_alone():
    def momenta(number: int, seed: int) -> bytes:
        return watched_start(options_of(), number, STRUCTURES[1], seed, {}).replica.atoms.get_momenta().tobytes()

    assert momenta(1, 0) == momenta(1, 0)
    assert len({momenta(1, 0), momenta(2, 0), momenta(1, 1)}) == 3


@pytest.mark.parametrize(
    ("options", "several"),
    [
        ({}, False),
        ({"index": 3, "seed": 4}, False),
        ({"index": "all"}, True),
        ({"index": [3]}, True),
        ({"seed": [4]}, True),
        ({"sample": 1}, True),
        ({"run": ["a"]}, True),
        ({"structures": None}, True),
    ],
)
def test_lists_make_a_simulation_of_several(options, several):
    assert options_of(**options).several == several

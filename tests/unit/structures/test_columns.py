"""Properties of many frames are the same from a list and from a prepared set, whatever part of it is asked for."""

from dataclasses import replace

import numpy as np
import pytest

from jointkd.data.prepared import prepare
from jointkd.structures.columns import (
    Columns,
    composition,
    elements_of,
    energies_of,
    groups_of,
    keys_of,
    numbers_of,
    select,
    without_labels,
)
from tests.files import frames

SOME = [replace(frame, group=f"molecule {number % 3}") for number, frame in enumerate(frames(11))]
SOME[4] = replace(SOME[4], energy=None)
SOME[7] = replace(SOME[7], forces=None)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("sets"), "some", lambda: (SOME, {}), None, 50.0, {}).frames


@pytest.mark.parametrize("part", [list(range(11)), [5, 2, 9], [4], [7, 0], []], ids=str)
def test_a_prepared_set_gives_what_its_frames_have(stored, part):
    table, single = stored.at(part), [SOME[index] for index in part]
    assert isinstance(table, Columns)
    assert not isinstance(single, Columns)
    assert keys_of(table) == keys_of(single) == [frame.key for frame in single]
    assert groups_of(table) == groups_of(single) == [frame.group for frame in single]
    np.testing.assert_array_equal(energies_of(table), energies_of(single))
    assert [np.isnan(energy) for energy in energies_of(single)] == [frame.energy is None for frame in single]
    assert without_labels(table) == without_labels(single) == (4 in part, 7 in part)
    for mine, own in zip(numbers_of(table), numbers_of(single), strict=True):
        np.testing.assert_array_equal(mine, own)
    assert elements_of(table) == elements_of(single) == sorted({z for f in single for z in f.numbers.tolist()})
    counted = [[(frame.numbers == z).sum() for z in (8, 1)] for frame in single]
    for some in (table, single):
        np.testing.assert_array_equal(composition(some, [8, 1]), np.array(counted).reshape(len(part), 2))


def test_selected_frames_of_a_prepared_set_are_read_on_access_too(stored):
    wanted = [frame.energy is not None for frame in SOME]
    table, single = select(stored, wanted), select(SOME, wanted)
    assert isinstance(table, Columns)
    assert keys_of(table) == keys_of(single)
    assert len(table) == 10

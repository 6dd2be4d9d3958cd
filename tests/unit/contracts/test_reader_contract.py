"""Every property of the contract of readers fails for a data set that lacks it, and holds for one that has it."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest

from jointkd.contracts.properties import DOES_NOT_APPLY, FAILED, outcome, outcomes, properties
from jointkd.contracts.readers import ReaderContract
from jointkd.data.options import DataOptions
from jointkd.data.provenance import Reader
from jointkd.structures.frame import Frame
from tests.files import FREE, frames

PASSES = iter(range(1_000_000))


def read(fault: str) -> tuple[list[Frame], dict[int, float]]:
    """Six molecules, with a named fault or without."""
    first, *others = frames(6)
    changes = {
        "float32 positions": {"positions": first.positions.astype(np.float32)},
        "integer energy": {"energy": int(first.energy)},
        "flat forces": {"forces": first.forces.ravel()},
        "not finite": {"energy": float("nan")},
        "element zero": {"numbers": first.numbers * 0},
        "no cell": {"pbc": np.ones(3, dtype=bool)},
        "one without forces": {"forces": None},
        "a number as group": {"group": 3},
        "an array in info": {"info": {"a": np.zeros(3)}},
        "a source twice": {"source": others[0].source},
        "another structure each time": {"positions": first.positions + 0.01 * next(PASSES)},
        "bohr": {},
        "kcal/mol": {"energy": 23.06 * first.energy},
    }
    found = [replace(first, **changes.get(fault, {})), *others]
    if fault == "bohr":
        found = [replace(frame, positions=frame.positions / 0.529177) for frame in found]
    free = {z: energy for z, energy in FREE.items() if fault != "no free oxygen" or z != 8}
    if fault == "no frames":
        found = []
    return found, free


@dataclass(frozen=True, kw_only=True)
class Data(DataOptions):
    """Molecules."""

    fault: str = ""

    def reader(self) -> Reader:
        if self.fault == "a lambda":
            return lambda: read("")
        return partial(read, self.fault)


class Changeable(Data):
    """Data options that can be changed."""

    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)


FAULTS = {
    "float32 positions": "test_frames_have_arrays_of_the_documented_shapes_and_dtypes",
    "integer energy": "test_frames_have_arrays_of_the_documented_shapes_and_dtypes",
    "flat forces": "test_frames_have_arrays_of_the_documented_shapes_and_dtypes",
    "no frames": "test_frames_have_arrays_of_the_documented_shapes_and_dtypes",
    "not finite": "test_values_are_finite_and_elements_exist",
    "element zero": "test_values_are_finite_and_elements_exist",
    "no cell": "test_periodic_directions_have_lattice_vectors",
    "one without forces": "test_all_frames_have_labels_or_none_has",
    "a number as group": "test_groups_splits_and_sources_are_text",
    "an array in info": "test_groups_splits_and_sources_are_text",
    "a source twice": "test_every_frame_names_another_source",
    "another structure each time": "test_two_passes_give_the_same_frames",
    "bohr": "test_a_prepared_set_gives_the_same_frames",
    "no free oxygen": "test_energies_of_free_atoms_cover_all_elements",
    "kcal/mol": "test_energies_relative_to_free_atoms_are_those_of_bonds",
    "a lambda": "test_the_origin_is_plain_and_found_again",
    "may be changed": "test_options_may_be_sent_to_another_process",
}


def contract_of(options: DataOptions) -> type[ReaderContract]:
    return type("Own", (ReaderContract,), {"options": options})


def test_a_data_set_without_fault_has_every_property():
    assert [
        str(each) for each in outcomes(contract_of(Data(name="mine"))) if each.verdict in (FAILED, DOES_NOT_APPLY)
    ] == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_by_the_property_that_it_breaks(fault):
    options = Changeable(name="mine") if fault == "may be changed" else Data(name="mine", fault=fault)
    found = outcome(contract_of(options), FAULTS[fault])
    assert found.verdict == FAILED, found


def test_every_property_has_a_fault_that_breaks_it():
    assert {*FAULTS.values()} == {*properties(ReaderContract)}


def test_free_atoms_are_not_asked_for_where_references_are_given():
    options = Data(name="mine", fault="no free oxygen", reference_energies="fit")
    found = outcome(contract_of(options), "test_energies_of_free_atoms_cover_all_elements")
    assert found.verdict == DOES_NOT_APPLY

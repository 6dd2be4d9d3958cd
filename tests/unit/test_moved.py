"""Names of version 0.1: imported with a warning, and recorded where prepared sets have recorded them."""

import importlib
import sys

import pytest

from jointkd.moved import MODULES, OBJECTS, current_name, first_name


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_imported_by_its_first_name_with_a_warning_and_is_the_same_module(name, monkeypatch):
    for old in MODULES:
        monkeypatch.delitem(sys.modules, old, raising=False)
    now = importlib.import_module(MODULES[name])
    with pytest.warns(DeprecationWarning, match=f"{name} is now {MODULES[name]}"):
        assert importlib.import_module(name) is now
    assert now.__spec__.name == MODULES[name]


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_that_moved_is_there_under_its_name_of_today(name):
    module, _, attribute = current_name(name).rpartition(".")
    assert hasattr(importlib.import_module(module), attribute)


def test_what_did_not_move_keeps_its_name():
    assert current_name("jointkd.students.painn.PaiNN") == "jointkd.students.painn.PaiNN"
    assert first_name("jointkd.data.subsets.Subset") == "jointkd.data.subsets.Subset"
    assert current_name("torch.optim.AdamW") == "torch.optim.AdamW"


def test_prepared_sets_go_on_recording_readers_by_their_first_names():
    assert first_name("jointkd.data.readers.extxyz.read") == "jointkd.data.extxyz.read"
    assert current_name("jointkd.objective.terms.Energy") == "jointkd.training.loss.Energy"


def test_a_module_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("jointkd.objectives")

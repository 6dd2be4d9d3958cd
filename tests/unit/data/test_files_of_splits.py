"""A file for each split, instead of one that is divided."""

from dataclasses import replace

import pytest
from ase import Atoms

from jointkd.data.datamodule import DistillationData
from jointkd.data.options import FileData
from jointkd.data.splits import Split
from jointkd.errors import ConfigError, DataError
from tests.files import isolated, molecules, saved

KEYS = {"energy_key": "REF_energy", "forces_key": "REF_forces"}
SIZES = {"train": 12, "val": 3, "test": 5}


@pytest.fixture
def files(tmp_path):
    """A file for each split; that of the training structures has isolated atoms too."""
    some = molecules(sum(SIZES.values()))
    paths, first = {}, 0
    for name, size in SIZES.items():
        extra: list[Atoms] = isolated() if name == "train" else []
        paths[name] = str(saved(tmp_path / f"{name}.xyz", extra + some[first : first + size]))
        first += size
    return paths


def sizes(options: FileData) -> dict[str, int]:
    return {name: len(part) for name, part in DistillationData(options).frames.items()}


def test_each_file_is_a_split(files):
    data = DistillationData(FileData(name="mine", **KEYS, **files))
    assert {name: len(part) for name, part in data.frames.items()} == SIZES
    for name, part in data.frames.items():
        assert all(f"{name}.xyz" in frame.source for frame in part)
    assert sorted(data.source.free_atom_energies) == [1, 6, 8]


@pytest.mark.parametrize(
    ("split", "val"), [(Split(), 12 / 9), (Split(train=0.5, val=0.25), 4), (Split(train=8, val=2), 2)]
)
def test_without_a_file_for_it_validation_is_taken_from_training(files, split, val):
    del files["val"]
    found = sizes(FileData(name="mine", **KEYS, split=split, **files))
    assert found["test"] == SIZES["test"]
    assert abs(found["val"] - val) <= 0.5
    assert found["train"] == (8 if split.train == 8 else SIZES["train"] - found["val"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "all.xyz"}, r"data.path=all.xyz say two things of the division; give one of them"),
        ({"split_key": "split"}, r"data.split_key=split say two things of the division"),
        ({"test": None}, r"there is no file to test on; give data.train and data.test"),
        ({"train": None}, r"there is no file to train on; give data.train and data.test"),
        ({"train": None, "val": None, "test": None}, r"data.path is not set; give data.path=FILE, or data.train"),
    ],
)
def test_files_that_do_not_make_a_division_are_refused(files, change, message):
    with pytest.raises(ConfigError, match=message):
        FileData(name="mine", **KEYS, **{**files, **change})


def test_two_energies_of_an_isolated_atom_in_two_files_are_refused(files, tmp_path):
    saved(tmp_path / "val.xyz", [*isolated({1: -12.0}), *molecules(3)])
    with pytest.raises(DataError, match="the isolated atom H has two energies"):
        DistillationData(FileData(name="mine", **KEYS, **files))


def test_a_changed_file_is_noticed(files, tmp_path):
    options = FileData(name="mine", **KEYS, prepared=str(tmp_path / "sets"), **files)
    assert sizes(options) == SIZES
    saved(tmp_path / "test.xyz", molecules(21)[-6:])
    assert sizes(replace(options)) == {**SIZES, "test": 6}

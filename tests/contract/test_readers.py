"""What every published data set must satisfy, found through conf/data: frames in eV and Å, with labels and groups."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import hydra
import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf

from jointkd.cli import command  # noqa: F401  (registers the resolvers)
from jointkd.cli.config_tree import CONF, choices
from jointkd.commands.build import data_options
from jointkd.contracts.properties import DoesNotApply
from jointkd.contracts.readers import ReaderContract
from jointkd.data.options import DataOptions, FileData
from jointkd.data.provenance import READERS as READERS_VERSION
from jointkd.data.published import READERS, read
from jointkd.data.readers import extxyz
from jointkd.data.readers.units import ENERGY
from jointkd.data.splits import Split
from jointkd.data.subsets import RULES
from jointkd.errors import DataError
from tests import mptrj
from tests.configurations import composed
from tests.files import isolated, molecules, saved
from tests.unit.data.readers.test_mace_off import published as mace_off
from tests.unit.data.readers.test_spice import springs


def configuration(name: str) -> DictConfig:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", [f"data={name}", "data.path=x" if name == "extxyz" else "seed=0"]).data
    OmegaConf.resolve(config)
    return config


PUBLISHED = {
    name: config for name in choices("data") if "format" in (config := configuration(name)) and "files" in config
}
WRITERS = {  # of a small file, the n-th of its data set
    "mace_off": lambda path, number: mace_off(path, 4, start=4 * number),
    "spice": lambda path, _: springs(path),
    "mptrj": lambda path, _: mptrj.write(path),
}


def small(name: str, folder: Path, different: bool = True) -> DataOptions:
    """The options of a data set, with small files in its format in a folder, each with other structures or not."""
    config = PUBLISHED[name]
    folder.mkdir(exist_ok=True)
    for number, file in enumerate(config.files.values()):
        WRITERS[config.format](folder / file.name.replace(".tar.gz", ".xyz"), number * different)
    return data_options(composed(f"data={name}", f"data.source={folder}", "teacher=none", "method=none"))


def made(name: str, folder: Path) -> tuple[Iterator, dict[int, float]]:
    """What the reader of a data set gives of a small file in its format."""
    return small(name, folder, different=False).reader()()


GIVEN = {  # by the readers of version 1, of the small files here
    "mace_off": "3fc793c527",
    "spice": "21b32cdac6",
    "mptrj": "6c25dc8366",
    "extxyz": "9fe85da381",
}


def test_every_format_has_a_data_set():
    assert {config.format for config in PUBLISHED.values()} == set(READERS) == set(WRITERS)


@pytest.fixture(scope="module", params=PUBLISHED)
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DataOptions:
    return small(request.param, tmp_path_factory.mktemp("published"))


class TestPublished(ReaderContract):
    @pytest.fixture(autouse=True)
    def _published(self, published: DataOptions) -> None:
        self.options = published

    def test_energies_relative_to_free_atoms_are_those_of_bonds(self) -> None:
        if self.options.name == "spice":
            raise DoesNotApply("the energies in the small file are made up")
        super().test_energies_relative_to_free_atoms_are_those_of_bonds()

    def test_frames_have_labels_groups_and_negative_energies_of_free_atoms(self) -> None:
        frames, free_atoms, _ = self.read()
        assert all(isinstance(z, int) and energy < 0 for z, energy in free_atoms.items())
        assert all(frame.energy is not None and frame.forces is not None and frame.group for frame in frames)
        assert {frame.split for frame in frames} <= {None, "test"}
        assert len({frame.key for frame in frames}) > 1


FILES = {
    "one file": {},
    "a pattern": {"path": "*.xyz", "group_key": "file"},
    "other units": {"units": {"energy": "kcal/mol", "length": "angstrom"}, "max_force": 1e4},
    "no labels": {"energy_key": None, "forces_key": None},
    "splits of the file": {"split_key": "part", "group_key": None, "split": Split(by="file")},
}


class TestFiles(ReaderContract):
    @pytest.fixture(autouse=True, params=FILES.values(), ids=FILES)
    def _file(self, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        labels = {"energy_key": "REF_energy", "forces_key": "REF_forces", "group_key": "molecule", **request.param}
        scale = 1.0 if "units" not in labels else 1 / ENERGY[labels["units"]["energy"]]
        many = [*molecules(6), *isolated()]
        for number, atoms in enumerate(many):
            atoms.info["REF_energy"] *= scale
            atoms.info["part"] = ("train", "val", "test")[number % 3]
        if labels["energy_key"] is None:
            many = many[:6]
        saved(tmp_path / "mine.xyz", many)
        path = tmp_path / labels.pop("path", "mine.xyz")
        self.options = FileData(name="mine", path=str(path), **labels)


class TestDemo(ReaderContract):
    options = data_options(composed("data=demo"))


@pytest.mark.parametrize("name", GIVEN)
def test_the_version_of_the_readers_is_raised_where_they_give_other_frames(tmp_path, name):
    if name == "extxyz":
        units = {"energy": "kcal/mol", "length": "bohr"}
        file = saved(tmp_path / "a.xyz", [*molecules(3), *isolated()])
        frames, free = extxyz.read(str(file), "REF_energy", "REF_forces", units, "molecule")
    else:
        frames, free = made(name, tmp_path)
    digest = hashlib.sha256()
    for frame in frames:
        said = f"{frame.key} {frame.energy:.6f} {frame.group} {frame.split} {frame.source} {sorted(frame.info)}"
        digest.update(said.encode() + (np.round(frame.forces, 6) + 0.0).tobytes())
    digest.update(repr(sorted((z, round(energy, 6)) for z, energy in free.items())).encode())
    assert (READERS_VERSION, digest.hexdigest()[:10]) == (2, GIVEN[name]), (
        "raise data.provenance.READERS, and change both"
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_frames_come_one_by_one_and_again(tmp_path, name):
    frames, others = (made(name, tmp_path / folder)[0] for folder in ("one", "two"))
    assert next(frames).key == next(others).key
    assert iter(frames) is frames


@pytest.mark.parametrize("name", PUBLISHED)
def test_rules_of_a_data_set_exist_and_can_be_made(name):
    rules = {rule: value for rule, value in PUBLISHED[name].subset.items() if value is not None and rule != "_target_"}
    for rule, value in rules.items():
        RULES[rule](value)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_missing_file_is_one_line_with_its_name_and_its_doi(tmp_path, name):
    config = PUBLISHED[name]
    with pytest.raises(DataError) as caught:
        read(config.format, config.files, str(tmp_path), "unused", config.doi, config.get("energy"))
    first = next(iter(config.files.values())).name
    assert first in str(caught.value)
    assert f"doi:{config.doi}" in str(caught.value)
    assert "\n" not in str(caught.value)

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
from jointkd.data.provenance import READERS as READERS_VERSION
from jointkd.data.published import READERS, read
from jointkd.data.readers import extxyz
from jointkd.data.subsets import RULES
from jointkd.errors import DataError
from tests import mptrj
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
WRITERS = {
    "mace_off": lambda path: mace_off(path, 4),
    "spice": springs,
    "mptrj": mptrj.write,
}


def made(name: str, folder: Path) -> tuple[Iterator, dict[int, float]]:
    """What the reader of a data set gives of a small file in its format."""
    config = PUBLISHED[name]
    folder.mkdir(exist_ok=True)
    for file in config.files.values():
        path = folder / (file.name.replace(".tar.gz", ".xyz"))
        WRITERS[config.format](path)
    return read(config.format, config.files, str(folder), "unused", config.doi, config.get("energy"))


GIVEN = {  # by the readers of version 1, of the small files here
    "mace_off": "3fc793c527",
    "spice": "21b32cdac6",
    "mptrj": "6c25dc8366",
    "extxyz": "9fe85da381",
}


def test_every_format_has_a_data_set():
    assert {config.format for config in PUBLISHED.values()} == set(READERS) == set(WRITERS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_frames_have_labels_groups_and_sources_in_double_precision(tmp_path, name):
    frames, free = made(name, tmp_path)
    frames = list(frames)
    assert frames
    assert all(isinstance(z, int) and energy < 0 for z, energy in free.items())
    for frame in frames:
        count = len(frame)
        assert frame.numbers.dtype == np.int64
        assert frame.positions.shape == frame.forces.shape == (count, 3)
        assert frame.positions.dtype == frame.forces.dtype == frame.cell.dtype == np.float64
        assert isinstance(frame.energy, float)
        assert frame.group
        assert frame.source
        assert frame.split in (None, "test")
        assert all(isinstance(value, str | int | float) for value in frame.info.values())
    assert len({frame.source for frame in frames}) == len(frames)
    assert len({frame.key for frame in frames}) > 1


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
    assert (READERS_VERSION, digest.hexdigest()[:10]) == (1, GIVEN[name]), "raise data.origin.READERS, and change both"


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

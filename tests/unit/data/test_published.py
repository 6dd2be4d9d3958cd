"""The paper's subsets are one option each; their files come from a folder, a mirror or the publisher."""

import pickle
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import hydra
import pytest
from omegaconf import OmegaConf

import jointkd.cli.command  # noqa: F401  (registers the resolvers)
from jointkd.cli.config_tree import CONF
from jointkd.cli.options import check_overrides, check_values
from jointkd.commands.build import data_options
from jointkd.data.datamodule import DistillationData
from jointkd.data.published import locate
from jointkd.errors import ConfigError, DataError
from tests import mptrj
from tests.files import frames as molecules
from tests.unit.data.readers.test_amin2025 import graph, stored
from tests.unit.data.readers.test_mace_off import packed, published

FILES = {"train": {"name": "train_a.tar.gz", "url": None}, "test": {"name": "test_a.tar.gz", "url": None}}
SIZES = {"monomers": 14331, "solvated_aa": 805, "iodine": 11171, "pm3m": 9725, "yttrium": 30436, "bandgap5": 36150}


def configured(*overrides):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", [*overrides]).data
    OmegaConf.resolve(config)
    check_values(OmegaConf.create({"data": config}))
    return config


def data_of(tmp_path, *overrides):
    """The data module of a configuration."""
    config = OmegaConf.create({"data": configured(*overrides, f"data.prepared={tmp_path / 'prepared'}")})
    return DistillationData(data_options(config))


@pytest.fixture
def mace_off(tmp_path):
    """A folder with the two files of MACE-OFF, filled with made-up molecules."""
    folder = tmp_path / "mace_off"
    folder.mkdir()
    packed(published(folder / "train_large_neut_no_bad_clean.xyz", 60)).rename(
        folder / "train_large_neut_no_bad_clean.tar.gz"
    )
    (folder / "train_large_neut_no_bad_clean.xyz").unlink()
    published(folder / "test_large_neut_all.xyz", 12, start=60)
    return folder


@pytest.mark.parametrize("name", ["mptrj", "pm3m", "yttrium", "bandgap5"])
def test_crystals_are_divided_by_the_shares_of_the_paper(name):
    split = configured(f"data={name}").split
    assert (split.train, split.val, split.test) == (0.7, 0.15, 0.15)


@pytest.mark.parametrize("name", [*SIZES, "mace_off", "spice", "mptrj"])
def test_a_published_set_has_a_doi_a_licence_urls_and_the_size_in_the_paper(name):
    config = configured(f"data={name}")
    assert config.doi.startswith("10.")
    assert config.licence
    assert all(file.url.startswith("https://") and file.name for file in config.files.values())
    assert config.expected_size == SIZES.get(name)


def test_the_splits_of_the_prior_art_are_accepted_as_an_option():
    check_overrides("train", ["data=iodine", "data.split=amin2025", "data.subset.contains_element=Br"])


def test_a_subset_of_mace_off_keeps_its_official_test_structures(tmp_path, mace_off):
    data = data_of(tmp_path, "data=solvated_aa", f"data.source={mace_off}", "data.split.by=frame")
    assert {split: len(part) for split, part in data.frames.items()} == {"train": 25, "val": 5, "test": 6}
    assert {frame.info["config_type"] for part in data.frames.values() for frame in part} == {"Solvated Amino Acids"}
    assert {frame.source.split()[0] for frame in data.frames["test"]} == {"test_large_neut_all.xyz"}


def test_a_subset_needs_no_code(tmp_path, mace_off):
    options = ("data.subset.contains_element=O", "data.split.by=frame")
    data = data_of(tmp_path, "data=mace_off", f"data.source={mace_off}", *options)
    assert sum(map(len, data.frames.values())) == 48


def test_a_subset_of_your_own_file_needs_no_code(tmp_path):
    path = published(tmp_path / "mine.xyz", 60)
    data = data_of(tmp_path, "data=extxyz", f"data.path={path}", "data.subset.contains_element=C")
    assert sum(map(len, data.frames.values())) == 40


def test_a_single_file_replaces_the_first_one(tmp_path):
    path = published(tmp_path / "mine.xyz", 60)
    split = ("data.split.by=frame", "data.split.official_test=false", "data.split.val=0.05", "data.split.test=0.1")
    data = data_of(tmp_path, "data=monomers", f"data.source={path}", *split)
    assert sum(map(len, data.frames.values())) == 30


def test_a_subset_of_mptrj_consists_of_whole_materials(tmp_path):
    path = mptrj.write(tmp_path / "MPtrj_2022.9_full.json", frames=12)
    options = (f"data.source={tmp_path}", "data.split.by=frame")
    raw = data_of(tmp_path, "data=yttrium", *options)
    corrected = data_of(tmp_path, "data=pm3m", f"data.source={path}", "data.energy=corrected", "data.split.by=frame")
    assert {frame.group for part in raw.frames.values() for frame in part} == {"mp-3"}
    assert {frame.group for part in corrected.frames.values() for frame in part} == {"mp-1"}
    first = next(f for part in corrected.frames.values() for f in part if f.info["frame_id"] == "mp-1-0-0")
    assert first.energy == pytest.approx(-25.0 - 3 * 0.7)


@pytest.fixture
def record(tmp_path):
    """The prior art's record with one subset of nine molecules."""
    some = molecules(9)
    folder = tmp_path / "record" / "spice_separated" / "Iodine"
    for number, split in enumerate(("train", "val", "test")):
        entries = [pickle.dumps(graph(frame)) for frame in some[3 * number : 3 * number + 3]]
        stored(folder / split / "data.lmdb", entries)
    return tmp_path / "record"


def test_the_splits_of_the_prior_art_are_one_option(tmp_path, record):
    data = data_of(tmp_path, "data=iodine", "data.split=amin2025", f"data.source={record}")
    assert {split: len(part) for split, part in data.frames.items()} == {"train": 3, "val": 3, "test": 3}
    assert data.frames["val"][0].source == "Iodine/val entry 0"


def test_a_run_on_the_splits_of_the_prior_art_is_evaluated_on_them(command, tmp_path, record):
    small = ("student.width=8", "student.layers=1", "student.radial=4", "student.cutoff=3", "trainer.max_epochs=1")
    options = ("data=iodine", "data.split=amin2025", f"data.source={record}", "teacher=none", "method=none", *small)
    trained = command("train", *options)
    assert trained.status == 0, trained.err
    (run,) = (tmp_path / "outputs").glob("iodine_painn_none_seed0/*")
    evaluated = command("evaluate", f"run={run}")
    assert evaluated.status == 0, evaluated.err
    assert evaluated.out.split("test\n")[-1].split() == trained.out.split("test\n")[-1].split("written to")[0].split()


def test_the_splits_of_the_prior_art_without_their_files_are_refused_with_their_doi(tmp_path):
    with pytest.raises(DataError) as caught:
        data_of(tmp_path, "data=iodine", "data.split=amin2025")
    assert "SPICE/spice_separated/Iodine of the record doi:10.5281/zenodo.14759305" in str(caught.value)
    assert "give its directory: data.source=DIRECTORY" in str(caught.value)


@pytest.mark.parametrize("arguments", [("data=iodine", "data.split=amin2024"), ("data=spice", "data.split=amin2025")])
def test_an_unknown_split_is_refused(tmp_path, arguments):
    with pytest.raises(hydra.errors.InstantiationException) as caught:
        data_of(tmp_path, *arguments)
    assert isinstance(caught.value.__cause__, ConfigError)


def test_a_missing_file_is_named_with_its_doi(tmp_path):
    with pytest.raises(DataError, match=r"source=.* has no train_a.tar.gz; get it from doi:10.1/x and put"):
        locate(FILES, str(tmp_path), tmp_path, "doi:10.1/x")


def test_files_are_downloaded_from_a_mirror(tmp_path, monkeypatch):
    for proxy in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for file in FILES.values():
        (mirror / file["name"]).write_text(file["name"])
    handler = partial(SimpleHTTPRequestHandler, directory=str(mirror))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        paths = locate(FILES, f"http://127.0.0.1:{server.server_port}/", tmp_path / "here", "doi:10.1/x")
        server.shutdown()
    assert {role: path.read_text() for role, path in paths.items()} == {
        "train": "train_a.tar.gz",
        "test": "test_a.tar.gz",
    }
    assert paths["train"] == tmp_path / "here" / "train_a.tar.gz"


def test_without_a_network_a_command_ends_with_a_one_line_error(command, tmp_path, monkeypatch):
    monkeypatch.setattr("jointkd.files.downloads.PAUSE", 0.0)
    nowhere = "data.files.train.url=http://127.0.0.1:1/content"
    result = command("prepare", "data=solvated_aa", "teacher=none", "method=none", nowhere)
    assert result.status == 1
    (line,) = (line for line in result.err.splitlines() if "Error" in line)
    assert line.startswith("DataError: http://127.0.0.1:1/content cannot be reached (")
    assert "; get train_large_neut_no_bad_clean.tar.gz from doi:10.17863/CAM.107498 and put it at outputs/" in line
    assert not list((tmp_path / "outputs" / "data").glob("*/manifest.json"))

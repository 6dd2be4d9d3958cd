"""A prepared set belongs to a source: the options, the files and the readers."""

from functools import partial
from pathlib import Path

import pytest

from jointkd.data import provenance
from jointkd.data.prepared import PreparedSet, prepare
from jointkd.data.provenance import origin_of
from jointkd.data.readers.extxyz import read as read_file
from jointkd.data.readers.paths import files
from jointkd.data.subsets import Subset
from jointkd.errors import ConfigError
from tests.files import isolated, molecules, saved


def mine(file: Path, where: Path, subset: Subset | None = None, limit: float = 50.0, **arguments) -> PreparedSet:
    """The prepared set of a file of molecules."""
    read = partial(read_file, str(file), **{"energy_key": "REF_energy", "forces_key": "REF_forces", **arguments})
    return prepare(where, file.stem, read, subset, limit, origin_of(read, subset, limit))


def test_another_file_unit_or_limit_gives_another_set_and_the_same_ones_give_the_same(tmp_path):
    file = saved(tmp_path / "a.xyz", [*molecules(4), *isolated()])

    def origin(path=file, limit=50.0, **arguments):
        return origin_of(partial(read_file, str(path), "REF_energy", "REF_forces", **arguments), None, limit)

    assert origin() == origin()
    assert origin(units={"energy": "eV"}) != origin()
    assert origin(limit=40.0) != origin()
    assert origin(saved(tmp_path / "b.xyz", molecules(4))) != origin()
    (state,) = origin()["files"].values()
    assert state[0] == file.stat().st_size


def test_all_files_of_a_folder_or_pattern_count(tmp_path):
    for name in "ab":
        saved(tmp_path / f"{name}.xyz", molecules(2))
    for path in (tmp_path, tmp_path / "*.xyz"):
        assert len(origin_of(partial(read_file, str(path)), None, 50.0)["files"]) == 2


def test_a_changed_source_is_prepared_again_with_a_warning(tmp_path, caplog):
    file = saved(tmp_path / "a.xyz", molecules(4))
    read = partial(read_file, str(file), "REF_energy", "REF_forces")

    def now():
        return prepare(tmp_path / "sets", "a", read, None, 50.0, origin_of(read, None, 50.0))

    before = now()
    assert now().path == before.path
    assert not caplog.records
    saved(file, molecules(6))
    with caplog.at_level("WARNING"):
        after = now()
    assert (len(before), len(after)) == (4, 6)
    assert f"a.xyz changed since {before.path} was prepared; preparing again" in caplog.text


def test_a_new_version_of_the_readers_prepares_again_with_a_warning(tmp_path, monkeypatch, caplog):
    file = saved(tmp_path / "a.xyz", molecules(4))
    before = mine(file, tmp_path / "sets")
    monkeypatch.setattr(provenance, "READERS", provenance.READERS + 1)
    with caplog.at_level("WARNING"):
        assert mine(file, tmp_path / "sets").path != before.path
    assert f"jointkd's readers changed since {before.path} was prepared; preparing again" in caplog.text


def test_a_set_that_is_named_is_used_without_its_source_files(tmp_path):
    file = saved(tmp_path / "a.xyz", molecules(4))
    data_set = mine(file, tmp_path / "sets")
    file.unlink()
    assert mine(Path("elsewhere/a.xyz"), data_set.path).path == data_set.path


@pytest.mark.parametrize(
    ("different", "message"),
    [
        ({"file": Path("b.xyz")}, r"made with data.path=a.xyz, but the options are data.path=b.xyz"),
        ({"energy_key": None}, r"made with data.energy_key=REF_energy, but the options are data.energy_key=null"),
        ({"limit": 5.0}, r"made with data.max_force=50.0, but the options are data.max_force=5.0"),
        ({"subset": Subset(min_atoms=4)}, r"data.subset.min_atoms=null, but the options are data.subset.min_atoms=4"),
        (
            {"forces_key": None, "energy_key": "E"},
            r"but the options are data.energy_key=E data.forces_key=null; give the options that it was made with",
        ),
    ],
)
def test_a_set_that_was_made_with_other_options_is_refused(tmp_path, different, message):
    file = saved(tmp_path / "a.xyz", molecules(4))
    data_set = mine(file, tmp_path / "sets", Subset())
    with pytest.raises(ConfigError, match=rf"data.prepared={data_set.path} was .*{message}"):
        mine(**{"file": file, "where": data_set.path, "subset": Subset(), **different})


def test_a_set_of_a_file_that_has_another_size_now_is_refused(tmp_path):
    data_set = mine(saved(tmp_path / "a.xyz", molecules(4)), tmp_path / "sets")
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(ConfigError, match=r"made with bytes of a.xyz=\d+, but the options are bytes of a.xyz=\d+"):
        mine(saved(other / "a.xyz", molecules(6)), data_set.path)


def test_a_published_set_may_come_from_a_mirror_but_not_from_another_reader_or_file(tmp_path):
    def published(reader, source, file):
        return origin_of(partial(reader, {"train": {"name": file, "url": source}}, source), None, 50.0)

    def read(files, source):
        raise AssertionError

    def other(files, source):
        raise AssertionError

    recorded = published(read, None, "train.tar.gz")
    provenance.check_matches(tmp_path, recorded, published(read, "mirror", "train.tar.gz"))
    with pytest.raises(ConfigError, match=r"data.files.train.name=train.tar.gz, but the options are .*=old.tar.gz"):
        provenance.check_matches(tmp_path, recorded, published(read, None, "old.tar.gz"))
    with pytest.raises(ConfigError, match=r"reader=.*\.read, but the options are reader=.*\.other"):
        provenance.check_matches(tmp_path, recorded, published(other, None, "train.tar.gz"))


def test_a_set_of_other_readers_is_used_if_it_is_named_with_a_warning(tmp_path, monkeypatch, caplog):
    file = saved(tmp_path / "a.xyz", molecules(4))
    data_set = mine(file, tmp_path / "sets")
    monkeypatch.setattr(provenance, "READERS", provenance.READERS + 1)
    with caplog.at_level("WARNING"):
        assert mine(file, data_set.path).path == data_set.path
    assert "was made by another version of jointkd's readers" in caplog.text


@pytest.mark.parametrize("path", ["run[1]/a.xyz", "run[1]", "deep/**/*.xyz", "dash-*.xyz"])
def test_the_files_of_the_record_are_those_that_are_read(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    names = ["run[1]/a.xyz", "run1/a.xyz", "deep/x/y/a.xyz", "deep/a.xyz", "dash-1.xyz"]
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        saved(Path(name), molecules(2))
    reader = partial(read_file, path, "REF_energy", "REF_forces")
    recorded = origin_of(reader, None, 50.0)["files"]
    assert recorded
    assert [str(file) for file, _ in files(path, None)] == list(recorded)
    saved(Path(next(iter(recorded))), molecules(3))
    assert origin_of(reader, None, 50.0)["files"] != recorded

"""A truncated LMDB file is refused before it is mapped, where reading beyond its end would kill the process."""

import os

import lmdb
import pytest
from ase.build import molecule
from ase.db import connect

from jointkd.data.readers import amin2025
from jointkd.data.readers.extxyz import read
from jointkd.data.readers.lmdb_files import check_whole
from jointkd.errors import DataError


def database(path, entries=200):
    with lmdb.open(str(path), subdir=False, map_size=1 << 24) as environment, environment.begin(write=True) as file:
        for number in range(entries):
            file.put(str(number).encode(), os.urandom(500))
    return path


def test_a_whole_file_passes(tmp_path):
    check_whole(database(tmp_path / "a.lmdb"))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.9])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = database(tmp_path / "a.lmdb")
    size = path.stat().st_size
    os.truncate(path, int(share * size))
    with pytest.raises(ValueError, match=r"too short|it has [\d,]+ of the [\d,]+ bytes"):
        check_whole(path)
    with pytest.raises(DataError, match=r"a.lmdb cannot be read"):
        list(amin2025.entries(path))


def test_a_file_whose_last_pages_were_freed_before_they_were_written_passes(tmp_path):
    path = database(tmp_path / "a.lmdb")
    content = bytearray(path.read_bytes())
    pages = len(content) // 4096
    for meta in (0, 4096):  # as if one more page had been counted
        content[meta + 136 : meta + 144] = pages.to_bytes(8, "little")
    path.write_bytes(content)
    check_whole(path)


@pytest.mark.parametrize("content", [b"", b"nothing" * 100])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "a.lmdb").write_bytes(content)
    with pytest.raises(ValueError, match=r"it is (not an LMDB file|too short)"):
        check_whole(tmp_path / "a.lmdb")


def test_a_fifo_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.lmdb")
    with pytest.raises(ValueError, match=r"it is not a regular file"):
        check_whole(tmp_path / "a.lmdb")


def test_a_truncated_database_of_ase_is_refused(tmp_path):
    pytest.importorskip("ase_db_backends")
    path = tmp_path / "a.aselmdb"
    with connect(path, type="aselmdb") as file:
        for _ in range(50):
            file.write(molecule("CH3CH2OH"))
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(
        DataError, match=r"a.aselmdb cannot be read: it has .* bytes that it says it has; copy it again"
    ):
        list(read(str(path), None, None)[0])

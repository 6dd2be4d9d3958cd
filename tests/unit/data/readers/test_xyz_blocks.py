"""Every structure of an extended XYZ file is read, or the line at which reading stops is named."""

import bz2

import numpy as np
import pytest

from jointkd.data.readers.extxyz import read
from jointkd.errors import DataError
from tests.files import molecules, saved

KEYS = {"energy_key": "REF_energy", "forces_key": "REF_forces"}


def texts(folder, count):
    """The text of each of some structures."""
    return [saved(folder / f"part{number}.xyz", [atoms]).read_text() for number, atoms in enumerate(molecules(count))]


def keys(path):
    return [frame.key for frame in read(str(path), **KEYS)[0]]


@pytest.mark.parametrize("gap", ["\n", " \n\n\t\n"])
@pytest.mark.parametrize("ends", ["", "\n\n"])
def test_empty_lines_between_structures_do_not_end_the_file(tmp_path, gap, ends):
    parts = texts(tmp_path, 5)
    (tmp_path / "a.xyz").write_text("".join(parts))
    (tmp_path / "b.xyz").write_text(gap + gap.join(parts) + ends)
    assert keys(tmp_path / "b.xyz") == keys(tmp_path / "a.xyz")
    assert len(keys(tmp_path / "b.xyz")) == 5


def test_a_structure_without_comment_is_not_skipped(tmp_path):
    (tmp_path / "a.xyz").write_text("1\n\nHe 0 0 0\n\n1\n\nHe 0 0 1\n")
    assert len(list(read(str(tmp_path / "a.xyz"), None, None)[0])) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n\nHe 0 0 0\nfinished\n", r"line 4 must be a number of atoms, not 'finished'"),
        ("2\n\nHe 0 0 0\n", r"line 1 announces 2 atoms, of which 1 follow"),
        ("1\n\nHe 0 0 0\n\n10000000000000000000\n\nHe 0 0 0\n", r"line 5 must be a number of atoms, not '1000"),
        ("999999999999999999\n\nHe 0 0 0\n", r"line 1 announces 999999999999999999 atoms, of which 1 follow"),
        ("-1\n\nHe 0 0 0\n", r"line 1 must be a number of atoms, not '-1'"),
        ("1\n\nHe 0 0 0\n1\n\nD 0 0 1\n", r"line 4 begins a structure with 'D', which must be an element"),
        ("1\n\n1 0 0 1\n", r"line 1 begins a structure with '1', which must be an element"),
        ("1\n\nCA 0 0 1\n", r"line 1 begins a structure that is malformed: CA may be Ca or a site of C"),
        ("2\n\nHe 0 0 0\n\n", r"line 1 begins a structure that is malformed"),
    ],
)
def test_a_line_at_which_reading_stops_is_named(tmp_path, text, message):
    (tmp_path / "a.xyz").write_text(text)
    with pytest.raises(DataError, match=rf"a.xyz cannot be read after \d frames \({message}"):
        list(read(str(tmp_path / "a.xyz"), None, None)[0])


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("jointkd.data.readers.text_files.LONGEST", 100)
    (tmp_path / "a.xyz").write_text("1\n" + 200 * "x" + "\nHe 0 0 0\n")
    with pytest.raises(DataError, match=r"line 2 is longer than 100 characters"):
        list(read(str(tmp_path / "a.xyz"), None, None)[0])


def test_elements_in_capitals_are_read_where_they_are_no_labels_of_sites(tmp_path):
    (tmp_path / "a.xyz").write_text("2\n\nCL 0 0 0\nNA 0 0 2\n")
    (frame,) = read(str(tmp_path / "a.xyz"), None, None)[0]
    assert frame.numbers.tolist() == [17, 11]


def test_lattice_vectors_below_the_atoms_are_read(tmp_path):
    (tmp_path / "a.xyz").write_text("1\nx\nHe 0 0 0\nVEC1 3 0 0\nVEC2 0 4 0\n1\nx\nHe 0 0 0\n")
    first, second = read(str(tmp_path / "a.xyz"), None, None)[0]
    assert first.pbc.tolist() == [True, True, False]
    np.testing.assert_array_equal(np.diag(first.cell), [3, 4, 0])
    assert not second.pbc.any()


def test_a_compressed_file_is_read_by_its_suffix(tmp_path):
    text = "\n".join(texts(tmp_path, 3))
    (tmp_path / "a.xyz").write_text(text)
    (tmp_path / "a.xyz.bz2").write_bytes(bz2.compress(text.encode()))
    assert keys(tmp_path / "a.xyz.bz2") == keys(tmp_path / "a.xyz")

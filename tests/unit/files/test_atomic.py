"""Checksums of files and folders."""

import hashlib

import pytest

from jointkd.files.atomic import combined_sha256, file_sha256, new_text


def test_the_checksum_of_a_file_is_the_sha256_of_its_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    assert file_sha256(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()


def test_the_combined_checksum_of_a_file_is_the_one_that_existing_labels_were_made_with(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    assert combined_sha256(tmp_path / "file") == hashlib.sha256(hashlib.sha256(b"content").digest()).hexdigest()


def test_the_combined_checksum_of_a_folder_depends_on_the_content_of_its_files(tmp_path):
    (tmp_path / "weights").write_bytes(b"1")
    (tmp_path / "card").write_bytes(b"2")
    (tmp_path / "subfolder").mkdir()
    before = combined_sha256(tmp_path)
    (tmp_path / "weights").write_bytes(b"3")
    assert combined_sha256(tmp_path) != before
    (tmp_path / "weights").write_bytes(b"1")
    assert combined_sha256(tmp_path) == before


def test_a_new_text_takes_its_name_when_it_is_complete_and_replaces_nothing(tmp_path):
    path = tmp_path / "new.txt"
    with new_text(path) as file:
        file.write("Å")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "Å"
    with pytest.raises(FileExistsError), new_text(path) as file:
        file.write("other")
    assert [(each.name, each.read_text(encoding="utf-8")) for each in tmp_path.iterdir()] == [("new.txt", "Å")]


def test_a_new_text_whose_block_fails_disappears(tmp_path):
    with pytest.raises(ValueError, match="no"), new_text(tmp_path / "new.txt"):
        raise ValueError("no")
    assert not list(tmp_path.iterdir())

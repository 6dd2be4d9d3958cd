"""Checksums of files and folders."""

import hashlib

from jointkd.files.atomic import combined_sha256, file_sha256


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

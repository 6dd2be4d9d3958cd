"""Checkpoints survive crashes, and damage is noticed."""

import errno
import logging
import os
from pathlib import Path

import pytest
import torch

from jointkd.errors import DataError, StorageError
from jointkd.training.checkpoint_files import WholeCheckpoints, previous, read_checkpoint


def checkpoint(epoch: int) -> dict:
    return {"epoch": epoch, "state_dict": {"weight": torch.full((300,), float(epoch))}}


@pytest.fixture
def last(tmp_path: Path) -> Path:
    """The second of two checkpoints, with the first kept beside it."""
    path = tmp_path / "run" / "last.ckpt"
    for epoch in (1, 2):
        WholeCheckpoints().save_checkpoint(checkpoint(epoch), path)
    return path


def test_a_checkpoint_replaces_the_one_before_which_is_kept(last):
    assert read_checkpoint(last)["epoch"] == 2
    assert read_checkpoint(previous(last))["epoch"] == 1
    assert sorted(file.name for file in last.parent.iterdir()) == ["last-previous.ckpt", "last.ckpt"]


def test_nothing_is_written_outside_the_folder_of_the_checkpoint(tmp_path, monkeypatch):
    elsewhere = tmp_path / "full"
    elsewhere.mkdir()
    elsewhere.chmod(0o500)
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere / "does" / "not" / "exist"))
    path = tmp_path / "run" / "last.ckpt"
    WholeCheckpoints().save_checkpoint(checkpoint(1), path)
    assert read_checkpoint(path)["epoch"] == 1


def test_a_full_disk_leaves_the_checkpoint_that_was_there_and_names_its_folder(last, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match=r"run/last\.ckpt cannot be written \(No space left.*ckpt_path=last"):
        WholeCheckpoints().save_checkpoint(checkpoint(3), last)
    assert read_checkpoint(last)["epoch"] == 2
    assert len(list(last.parent.iterdir())) == 2


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((4,), 2.0).numpy().tobytes()) + 5] ^= 1  # in the weights
    path.write_bytes(content)


def missing(path: Path) -> None:
    path.unlink()  # a crash between the two renames


@pytest.mark.parametrize("damage", [empty, truncated, flipped, missing])
def test_a_damaged_checkpoint_is_replaced_by_the_one_before_with_a_line_that_says_so(last, damage, caplog):
    damage(last)
    with caplog.at_level(logging.WARNING):
        assert WholeCheckpoints().load_checkpoint(last)["epoch"] == 1
    (line,) = caplog.messages
    assert "the one before it, last-previous.ckpt, is taken instead" in line


@pytest.mark.parametrize("damage", [empty, truncated, missing])
def test_without_a_whole_checkpoint_there_is_one_line_of_what_to_do(last, damage):
    damage(last)
    damage(previous(last))
    with pytest.raises(DataError, match=r"last\.ckpt (is damaged|does not exist).*no whole one before it"):
        read_checkpoint(last)


def test_a_checkpoint_with_code_is_refused_without_advice_to_run_it(tmp_path):
    torch.save({"state_dict": {}, "epoch": 0, "callbacks": logging.getLogger}, tmp_path / "foreign.ckpt")
    with pytest.raises(DataError, match="is not a checkpoint of plain weights: to load it would run code") as caught:
        read_checkpoint(tmp_path / "foreign.ckpt")
    assert "weights_only" not in str(caught.value)


def test_a_whole_archive_that_is_no_checkpoint_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "other.ckpt")
    with pytest.raises(DataError, match="is not a checkpoint of training"):
        read_checkpoint(tmp_path / "other.ckpt")

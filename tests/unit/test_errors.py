"""Mistakes that a user can mend, and errors of the system that are such mistakes."""

import errno

from jointkd.errors import DataError, StorageError, did_you_mean, first_line, user_error


def test_the_line_of_a_user_error_inside_another_has_no_class_of_its_own():
    inner = DataError("frame 3 has no energy", "give one")
    assert str(DataError(f"a.xyz cannot be read ({first_line(inner)})", "mend it")) == (
        "DataError: a.xyz cannot be read (frame 3 has no energy); mend it"
    )
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"


def test_too_many_open_files_are_the_users_to_mend():
    mistake = user_error(OSError(errno.EMFILE, "Too many open files", "shards/a"))
    assert isinstance(mistake, StorageError)
    assert "shards/a cannot be opened (Too many open files); raise the number of open files" in str(mistake)


def test_other_errors_of_the_system_are_ours():
    assert user_error(OSError(errno.EIO, "Input/output error")) is None


def test_capitals_and_hyphens_do_not_hide_the_word_that_was_meant():
    assert did_you_mean("GemNet-dT", ["painn", "gemnet_dt"]) == "did you mean gemnet_dt? "
    assert did_you_mean("MASS", ["painn", "gemnet_dt"]) == ""

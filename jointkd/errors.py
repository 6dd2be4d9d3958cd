"""What a user can put right. Every entry point prints such an error as one line and exits with status 1."""

import errno
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

Kind = TypeVar("Kind", bound=BaseException)
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def find_cause(error: BaseException | None, kind: type[Kind]) -> Kind | None:
    """The first error of a kind in a chain of causes that begins with the error itself; None where there is none."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__
    return error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class where it has none; the problem of a UserError."""
    if isinstance(error, UserError):
        return error.problem
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def did_you_mean(word: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """A hint at the known word nearest to one that is not known, ready to stand before a remedy; empty if none is near.

    likeness: from 0 to 1, how alike two words must be (`difflib.get_close_matches`); capitals, and hyphens in the place
    of underscores, make no difference.
    """
    plain = {fold(each): each for each in known}
    nearest = get_close_matches(fold(word), list(plain), n=1, cutoff=likeness)
    return f"did you mean {plain[nearest[0]]}? " if nearest else ""


def fold(word: str) -> str:
    """A word in small letters, with underscores for hyphens."""
    return word.lower().replace("-", "_")


class UserError(Exception):
    """A mistake that the user can mend: `problem` names the value and its place, `remedy` what to do.

    printed_to: the file (device, inode) on which a command has already printed it, so that no launcher prints it twice.
    """

    printed_to: tuple[int, int] | None = None

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = " ".join(problem.split())
        self.remedy = " ".join(remedy.split())
        super().__init__(f"{type(self).__name__}: {self.problem}; {self.remedy}")

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str], dict[str, object]]:
        """So that it comes through from another process."""
        return type(self), (self.problem, self.remedy), self.__dict__


class ConfigError(UserError):
    """An option that does not exist, or a value that it cannot take."""


class DataError(UserError):
    """A data file that is missing, unreadable, or does not hold what it was said to hold."""


class LabelMismatch(UserError):
    """Labels that were made by another teacher, in another precision, or for other structures."""


class CorruptShard(UserError):
    """A file of labels whose bytes are not those that were written."""


class TeacherError(UserError):
    """A teacher that cannot be loaded, or cannot label what it was given."""


class MissingExtra(UserError):
    """A package that this part needs is not installed; `extra` of jointkd would bring it."""

    def __init__(self, problem: str, remedy: str, extra: str | None = None) -> None:
        super().__init__(problem, remedy)
        self.extra = extra


class StorageError(UserError):
    """The disk refused: full, read-only, or not there."""

    @classmethod
    def of(cls, error: OSError, where: Path, option: str) -> "StorageError":
        """What the operating system said as something was written; option: names the place."""
        remedy = "free some space or name another disk" if error.errno in NO_SPACE else "name a folder to write into"
        return cls(
            f"{where} cannot be written ({error.strerror or error})",
            f"{remedy} with {option}=…, then run the command again",
        )


class DivergedError(UserError):
    """Training that ran into numbers that are not finite."""


class NotAccepted(UserError):
    """A student that does not pass its gates."""


def user_error(error: Exception) -> UserError | None:
    """The user's mistake behind an error, also where the operating system refused; None for an error that is ours."""
    mistake = find_cause(error, UserError)
    if mistake is not None:
        return mistake
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        where = error.filename or "the run's folder"
        return StorageError(
            f"{where} cannot be written ({error.strerror})", "free some space, then go on from what is there"
        )
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return StorageError(
            f"{error.filename or 'a file'} cannot be opened ({error.strerror})",
            "raise the number of open files that the system allows, as with ulimit -n 4096, and run the command again",
        )
    if isinstance(error, PermissionError | NotADirectoryError):
        return StorageError(str(error), "see to its permissions, or name another place")
    return None

"""What a user can put right. Every entry point prints such an error as one line and exits with status 1."""

from typing import TypeVar

Kind = TypeVar("Kind", bound=BaseException)


def behind(error: BaseException | None, kind: type[Kind]) -> Kind | None:
    """The error of a kind that is an error or its cause, or the cause of that."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__
    return error


class UserError(Exception):
    """A mistake that the user can mend: `problem` names the value and its place, `remedy` what to do."""

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = " ".join(problem.split())
        self.remedy = " ".join(remedy.split())
        super().__init__(f"{type(self).__name__}: {self.problem}; {self.remedy}")


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


class DivergedError(UserError):
    """Training that ran into numbers that are not finite."""

"""What a contract is: properties as test methods, which run under pytest or, without it, one after the other."""

import math
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import SkipTest

import numpy as np
from torch import Tensor

from jointkd.errors import UserError, first_line

PASSED, FAILED, DOES_NOT_APPLY = "passed", "failed", "does not apply"


class DoesNotApply(SkipTest):
    """A property has no meaning for this object; the message says why. Under pytest the test is skipped."""


class Contract:
    """Every method `test_…` is a property, and the first line of its docstring says what must hold.

    A subclass names the object: `class TestMine(StudentContract): config = {…}` is a test class of pytest.
    """

    nearest: tuple[float, float] | None = None  # the error and its bound that were nearest to each other so far

    def within(self, error: float, bound: float, what: str) -> None:
        """Require that an error is at most its bound; an error that is not a number is beyond every bound."""
        __tracebackhide__ = True  # pytest then shows the line of the property
        if not error <= bound:
            raise AssertionError(f"{what}: {error:.1e}, bound {bound:.0e}")
        if self.nearest is None or share(error, bound) > share(*self.nearest):
            self.nearest = error, bound

    def same(
        self, found: Tensor | np.ndarray, expected: Tensor | np.ndarray, bound: float, what: str, floor: float = 0.0
    ) -> None:
        """Require equal values up to `bound`, relative to the largest expected one, or to `floor` if that is larger."""
        __tracebackhide__ = True
        self.within(difference(found, expected, floor), bound, what)


def share(error: float, bound: float) -> float:
    """The part of a bound that an error within it takes."""
    return error / bound if bound else 0.0


@dataclass(frozen=True)
class Outcome:
    """What came of one property."""

    says: str  # the property in words
    verdict: str  # PASSED, FAILED or DOES_NOT_APPLY
    detail: str  # the measured error and its bound, or a reason

    def __str__(self) -> str:
        return f"{self.verdict:<16}{self.says}{f' ({self.detail})' if self.detail else ''}"


def outcomes(contract: type[Contract]) -> Iterator[Outcome]:
    """The outcome of every property of a contract, each when it is known."""
    for name in properties(contract):
        yield outcome(contract, name)


def outcome(contract: type[Contract], name: str) -> Outcome:
    """The outcome of one property, of a new instance of the contract."""
    instance = contract()
    method = getattr(instance, name)
    says = (method.__doc__ or name).splitlines()[0].rstrip(".")
    try:
        method()
    except DoesNotApply as reason:
        return Outcome(says, DOES_NOT_APPLY, str(reason))
    except AssertionError as error:
        return Outcome(says, FAILED, first_line(error))
    except UserError as error:
        return Outcome(says, FAILED, str(error))
    except Exception as error:  # an object of a user raises what it likes
        return Outcome(says, FAILED, f"{type(error).__name__}: {first_line(error)}, {place_of(error)}")
    measured, bound = instance.nearest or (0.0, 0.0)
    return Outcome(says, PASSED, f"{measured:.1e}, bound {bound:.0e}" if measured else "")


def properties(contract: type[Contract]) -> list[str]:
    """The names of a contract's test methods, in the order in which they are written, those of base classes first."""
    names = [name for kind in reversed(contract.__mro__) for name in vars(kind) if name.startswith("test_")]
    return list(dict.fromkeys(names))


def place_of(error: Exception) -> str:
    """Where an error was raised: the innermost line that is not in an installed package."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename] or list(frames)
    return f"{Path(own[-1].filename).name} line {own[-1].lineno}"


def difference(found: Tensor | np.ndarray, expected: Tensor | np.ndarray, floor: float = 0.0) -> float:
    """The largest difference of two arrays, relative to the largest expected value, or to `floor` if that is larger.

    Infinite for arrays of different shapes and for values that are not finite.
    """
    ours, theirs = as_array(found), as_array(expected)
    if ours.shape != theirs.shape or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return math.inf
    if not theirs.size:
        return 0.0
    largest = float(np.abs(ours - theirs).max())
    return largest and largest / max(float(np.abs(theirs).max()), floor, 1e-300)


def as_array(values: Tensor | np.ndarray) -> np.ndarray:
    """Values in float64, as numpy has them."""
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)


def slope(
    function: Callable[[float], np.ndarray], step: float, shrink: float = 2.0, steps: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """d/dx function(x) [K] at 0, and estimates of its errors [K], by central differences over ever smaller steps.

    step: the largest, in the unit of x. Differences are extrapolated to a step of zero, and of each component that
    estimate is taken with which its neighbours agree best. Source: Ridders, Adv. Eng. Softw. 4, 75 (1982).
    """
    best = np.zeros_like(function(0.0))
    error = np.full_like(best, math.inf)
    before: list[np.ndarray] = []
    for _ in range(steps):
        row = [(function(step) - function(-step)) / (2 * step)]
        for order, coarser in enumerate(before):
            factor = shrink ** (2 * order + 2)
            row.append((factor * row[order] - coarser) / (factor - 1))
            change = np.maximum(np.abs(row[-1] - row[order]), np.abs(row[-1] - coarser))
            best, error = np.where(change <= error, row[-1], best), np.minimum(change, error)
        before, step = row, step / shrink
    return best, error

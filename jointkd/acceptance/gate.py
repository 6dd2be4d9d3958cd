"""A gate: one property of a student, measured and compared with a threshold."""

import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jointkd.errors import UserError, first_line


@dataclass(frozen=True)
class Gate:
    """The outcome of a gate. One that could not be measured has no value and is not passed."""

    name: str
    passed: bool
    value: float | None
    threshold: float
    unit: str
    detail: str
    relation: str = "≤"  # of the value to the threshold, where it is passed

    def __str__(self) -> str:
        value = "not measured" if self.value is None else f"{self.value:.3g}"
        limit = f"{self.relation} {self.threshold:g}{' ' + self.unit if self.unit else ''}"
        return f"{'passed' if self.passed else 'FAILED'}  {self.name}: {value} ({limit}); {self.detail}"


def at_most(name: str, value: float, threshold: float, unit: str, detail: str) -> Gate:
    """A gate that is passed by a value up to its threshold. A value that is not finite has not been measured."""
    return compared(name, value, threshold, unit, detail, "≤")


def at_least(name: str, value: float, threshold: float, unit: str, detail: str) -> Gate:
    """A gate that is passed by a value from its threshold on. A value that is not finite has not been measured."""
    return compared(name, value, threshold, unit, detail, "≥")


def compared(name: str, value: float, threshold: float, unit: str, detail: str, relation: str) -> Gate:
    """A gate that is passed where the relation holds."""
    if not np.isfinite(value):
        return unmeasured(name, threshold, unit, f"the value is not finite; {detail}", relation)
    holds = {"≤": operator.le, "≥": operator.ge}[relation](value, threshold)
    return Gate(name, bool(holds), float(value), threshold, unit, detail, relation)


def unmeasured(name: str, threshold: float, unit: str, reason: str, relation: str = "≤") -> Gate:
    """A gate that could not be measured, and so is not passed."""
    return Gate(name, False, None, threshold, unit, f"not measured: {reason}", relation)


def measured(name: str, threshold: float, unit: str, gate: Callable[[], Gate], relation: str = "≤") -> Gate:
    """The outcome of a gate, which is not measured where the student or the teacher refuses a structure."""
    try:
        return gate()
    except UserError as error:
        return unmeasured(name, threshold, unit, first_line(error), relation)

"""Ranges of numeric options. One message for all of them names the option, its value and what it may be."""

import math
from numbers import Integral, Real

from jointkd.errors import ConfigError

LARGEST_SEED = 2**32 - 1  # of numpy


def check_integer(option: str, value: object, least: int = 1, most: int | None = None) -> None:
    """Raise ConfigError unless a value is an integer from `least` to `most`, both included."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if whole and int(value) >= least and (most is None or int(value) <= most):  # type: ignore[call-overload]
        return
    if most is not None:
        allowed, remedy = f"an integer from {least} to {most}", f"give one, as {option}={least}"
    else:
        allowed = "a positive integer" if least == 1 else f"an integer of at least {least}"
        remedy = f"give at least {least}"
    raise ConfigError(f"{option}={value} must be {allowed}", remedy)


def check_seed(option: str, value: object) -> None:
    """Raise ConfigError unless a value can be the seed of a generator of random numbers."""
    check_integer(option, value, 0, LARGEST_SEED)


def check_number(option: str, value: object, unit: str = "", zero: bool = False, infinite: bool = False) -> None:
    """Raise ConfigError unless a value is a positive number, or zero or infinity where these are allowed."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    number = float(value) if real else math.nan  # type: ignore[arg-type]
    if (number > 0 or (zero and number == 0)) and (infinite or not math.isinf(number)):
        return
    allowed = "a number of at least 0" if zero else "a positive number"
    raise ConfigError(
        f"{option}={value} must be {allowed}" + (f" in {unit}" if unit else ""),
        f"give a {'number that is not negative' if zero else 'number above 0'}" + (", or inf" if infinite else ""),
    )

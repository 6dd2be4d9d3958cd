"""Subsets: named rules that select the structures of a chemical subdomain, and log what they leave out."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import spglib
from ase.data import atomic_numbers, chemical_symbols

from jointkd.errors import ConfigError, DataError, did_you_mean
from jointkd.structures.frame import Frame

log = logging.getLogger(__name__)

SYMPREC = 0.1  # Å; the tolerance with which the Materials Project assigns space groups
ANGLE_TOLERANCE = 5.0  # degrees, likewise
HALL_SYMBOLS = 530
SIZE_TOLERANCE = 0.02  # relative difference from the expected size above which a warning is logged
MAX_LISTED = 12  # values in a message


class Rule(NamedTuple):
    """One criterion of a subset."""

    admits: Callable[[Frame], bool]
    values: Callable[[Frame], Iterable[str]]  # the values of a frame that the rule tests, for messages
    by_material: bool = False  # one frame decides for all consecutive frames of its group


def config_type(names: str | Sequence[str]) -> Rule:
    """Frames whose `config_type` contains one of the names; case, spaces, `_`, `-` and plural s are ignored."""
    names = [normalised(name) for name in as_list(names)]

    def name_of(frame: Frame) -> str:
        return str(frame.info.get("config_type", "no config_type"))

    return Rule(lambda frame: any(name in normalised(name_of(frame)) for name in names), lambda frame: [name_of(frame)])


def normalised(name: str) -> str:
    """A name as lower-case singular words between single spaces, with a space at either end."""
    words = re.sub(r"[\s_\-]+", " ", name.lower()).split()
    return f" {' '.join(word.removesuffix('s') for word in words)} "


def contains_element(symbols: str | Sequence[str]) -> Rule:
    """Frames with at least one atom of one of the elements. Raises ConfigError for an unknown chemical symbol."""
    for symbol in as_list(symbols):
        if symbol not in atomic_numbers:
            raise ConfigError(
                f"data.subset.contains_element={symbol} must be a chemical symbol", "give a symbol, such as Br"
            )
    numbers = [atomic_numbers[symbol] for symbol in as_list(symbols)]
    return Rule(
        lambda frame: bool(np.isin(numbers, frame.numbers).any()),
        lambda frame: [chemical_symbols[z] for z in set(frame.numbers.tolist())],
    )


def min_atoms(count: int) -> Rule:
    """Frames with at least `count` atoms."""
    return Rule(lambda frame: len(frame) >= count, lambda frame: [f"{len(frame)} atoms"])


def band_gap(bounds: Sequence[float | None]) -> Rule:
    """Materials with a band gap (`bandgap` in eV) in [low, high]; None leaves an end open. Raises ConfigError."""
    if isinstance(bounds, str | int | float) or len(bounds) != 2:
        raise ConfigError(
            f"data.subset.band_gap={bounds} must be a range", "give [low, high] in eV, with null for an open end"
        )
    low, high = (default if bound is None else bound for bound, default in zip(bounds, (-np.inf, np.inf), strict=True))

    def gap(frame: Frame) -> Any:
        return frame.info.get("bandgap")

    return Rule(
        lambda frame: gap(frame) is not None and low <= gap(frame) <= high,
        lambda frame: ["no bandgap" if gap(frame) is None else f"{gap(frame):.0f} eV"],
        by_material=True,
    )


def space_group(group: int | str) -> Rule:
    """Crystals of a space group, by number or Hermann-Mauguin symbol (`221` or `Pm-3m`). Raises ConfigError."""
    symbols = space_groups()
    number = symbols.get(str(group).replace(" ", ""))
    if str(group) in map(str, symbols.values()):
        number = int(group)
    if number is None:
        hint = did_you_mean(str(group), symbols, likeness=0.5)
        raise ConfigError(f"data.subset.space_group={group} is not known", f"{hint}give 1 to 230 or a symbol")
    return Rule(
        lambda frame: find_space_group(frame)[0] == number,
        lambda frame: [find_space_group(frame)[1]],
        by_material=True,
    )


@cache
def space_groups() -> dict[str, int]:
    """The number of each space group by its short symbol."""
    kinds = [spglib.get_spacegroup_type(hall) for hall in range(1, HALL_SYMBOLS + 1)]
    return {kind.international_short: kind.number for kind in kinds if kind is not None}


@lru_cache(maxsize=1)  # takes milliseconds, and is called twice for a frame that is left out
def find_space_group(frame: Frame) -> tuple[int, str]:
    """Number and symbol of a crystal's space group; 0 and the reason where it has none."""
    if not frame.pbc.all():
        return 0, "not periodic"
    scaled = np.linalg.solve(frame.cell.T, frame.positions.T).T
    try:
        crystal: Any = (frame.cell, scaled, frame.numbers)
        symmetry = spglib.get_symmetry_dataset(crystal, SYMPREC, angle_tolerance=ANGLE_TOLERANCE)
    except spglib.SpglibError:
        symmetry = None
    return (0, "no symmetry found") if symmetry is None else (symmetry.number, symmetry.international)


@dataclass
class Subset:
    """Keeps the frames that all rules admit; a rule that is None admits every frame.

    contains_element: a symbol, or several of which a frame must contain at least one; space_group: number or symbol;
    band_gap: [low, high] in eV, None for an open end. Band gap and space group are properties of a material: among its
    frames (consecutive ones with the same `Frame.group`) the one with the lowest energy decides for all.
    """

    config_type: str | list[str] | None = None
    contains_element: str | list[str] | None = None
    space_group: int | str | None = None
    band_gap: list[float | None] | None = None
    min_atoms: int | None = None

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The frames that are kept, in their order. Raises DataError after the last one if a rule kept no frame."""
        kept = iter(frames)
        for name, make_rule in RULES.items():
            value = getattr(self, name)
            if value is not None:
                kept = apply_rule(kept, f"data.subset.{name}={value}", make_rule(value))
        return kept


RULES: dict[str, Callable[[Any], Rule]] = {  # the cheapest ones first
    "config_type": config_type,
    "contains_element": contains_element,
    "min_atoms": min_atoms,
    "band_gap": band_gap,
    "space_group": space_group,
}


def apply_rule(frames: Iterator[Frame], option: str, rule: Rule) -> Iterator[Frame]:
    """The frames that a rule admits. At the end, the log gets the numbers of kept and left-out frames and their values.

    Raises DataError at the end if the rule admits no frame.
    """
    kept = left_out = 0
    values: Counter[str] = Counter()
    for material in group_by_material(frames) if rule.by_material else ([frame] for frame in frames):
        relaxed = min(material, key=lambda frame: np.inf if frame.energy is None else frame.energy)
        if rule.admits(relaxed):
            kept += len(material)
            yield from material
        else:
            left_out += len(material)
            values.update({value: len(material) for value in rule.values(relaxed)})
    others = ", ".join(f"{value} ({count:,})" for value, count in values.most_common(MAX_LISTED))
    if left_out and not kept:
        raise DataError(f"{option} matches none of {left_out:,} structures", f"the values in the data are {others}")
    listing = f": {others}" if left_out else ""
    log.info("%s keeps %s structures and leaves out %s%s", option, f"{kept:,}", f"{left_out:,}", listing)


def group_by_material(frames: Iterator[Frame]) -> Iterator[list[Frame]]:
    """Consecutive frames of the same group together; a frame without a group alone."""
    for group, material in groupby(frames, key=lambda frame: frame.group):
        if group:
            yield list(material)
        else:
            yield from ([frame] for frame in material)


def as_list(value: str | Sequence[str]) -> list[str]:
    """A single string as a list of one."""
    return [value] if isinstance(value, str) else list(value)


def compare_size(name: str, count: int, expected: int | None) -> None:
    """Log the number of structures of a data set, as a warning if it differs from the number in its paper."""
    if expected is None:
        log.info("data %s: %s structures", name, f"{count:,}")
        return
    message = f"data {name}: {count:,} structures, expected {expected:,} ({(count - expected) / expected:+.1%})"
    if abs(count - expected) > SIZE_TOLERANCE * expected:
        log.warning("%s: the source is of another version, or the selection differs; see docs/data.md", message)
    else:
        log.info("%s", message)

"""Which structures of a large set belong to a chemical subdomain: small named rules, counted as they are applied."""

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

SYMPREC = 0.1  # Å; positions closer than that are the same to the Materials Project when it assigns space groups
ANGLE = 5.0  # degrees, likewise
HALL_SYMBOLS = 530
NOTICED = 0.02  # share by which a count may differ from the expected one without being remarked on
SHOWN = 12  # values listed in a message


class Rule(NamedTuple):
    """What a rule admits, and what it sees in a frame, for messages."""

    admits: Callable[[Frame], bool]
    seen: Callable[[Frame], Iterable[str]]
    by_material: bool = False  # one frame speaks for all consecutive frames of its group


def config_type(wanted: str | Sequence[str]) -> Rule:
    """Frames whose `config_type` has one of the wanted names in it; case, spaces, `_`, `-` and plurals do not count."""
    names = [plain(name) for name in listed(wanted)]

    def name_of(frame: Frame) -> str:
        return str(frame.info.get("config_type", "no config_type"))

    return Rule(lambda frame: any(name in plain(name_of(frame)) for name in names), lambda frame: [name_of(frame)])


def plain(name: str) -> str:
    """A name as words in singular between single spaces, with one at each end."""
    words = re.sub(r"[\s_\-]+", " ", name.lower()).split()
    return f" {' '.join(word.removesuffix('s') for word in words)} "


def contains_element(wanted: str | Sequence[str]) -> Rule:
    """Frames with at least one atom of one of the elements. Raises ConfigError for what is no chemical symbol."""
    for symbol in listed(wanted):
        if symbol not in atomic_numbers:
            raise ConfigError(f"data.subset.contains_element={symbol} is no element", "give a symbol, such as Br")
    numbers = [atomic_numbers[symbol] for symbol in listed(wanted)]
    return Rule(
        lambda frame: bool(np.isin(numbers, frame.numbers).any()),
        lambda frame: [chemical_symbols[z] for z in set(frame.numbers.tolist())],
    )


def min_atoms(count: int) -> Rule:
    """Frames of `count` atoms or more."""
    return Rule(lambda frame: len(frame) >= count, lambda frame: [f"{len(frame)} atoms"])


def band_gap(bounds: Sequence[float | None]) -> Rule:
    """Materials with a band gap (`bandgap` in eV) in [low, high]; null leaves an end open. Raises ConfigError."""
    if isinstance(bounds, str | int | float) or len(bounds) != 2:
        raise ConfigError(f"data.subset.band_gap={bounds} is no range", "give [low, high] in eV, null for an open end")
    low, high = (default if bound is None else bound for bound, default in zip(bounds, (-np.inf, np.inf), strict=True))

    def gap(frame: Frame) -> Any:
        return frame.info.get("bandgap")

    return Rule(
        lambda frame: gap(frame) is not None and low <= gap(frame) <= high,
        lambda frame: ["no bandgap" if gap(frame) is None else f"{gap(frame):.0f} eV"],
        by_material=True,
    )


def space_group(wanted: int | str) -> Rule:
    """Crystals of a space group, by number or Hermann-Mauguin symbol (`221` or `Pm-3m`). Raises ConfigError."""
    symbols = space_groups()
    number = symbols.get(str(wanted).replace(" ", ""))
    if str(wanted) in map(str, symbols.values()):
        number = int(wanted)
    if number is None:
        hint = did_you_mean(str(wanted), symbols, likeness=0.5)
        raise ConfigError(f"data.subset.space_group={wanted} is not known", f"{hint}give 1 to 230 or a symbol")
    return Rule(
        lambda frame: group_of(frame)[0] == number, lambda frame: [group_of(frame)[1]], by_material=True
    )  # fmt: skip


@cache
def space_groups() -> dict[str, int]:
    """The number of each space group by its short symbol."""
    kinds = [spglib.get_spacegroup_type(hall) for hall in range(1, HALL_SYMBOLS + 1)]
    return {kind.international_short: kind.number for kind in kinds if kind is not None}


@lru_cache(maxsize=1)  # asked for twice of what is left out, and milliseconds of work
def group_of(frame: Frame) -> tuple[int, str]:
    """Number and symbol of a crystal's space group; 0 where it has none."""
    if not frame.pbc.all():
        return 0, "not periodic"
    scaled = np.linalg.solve(frame.cell.T, frame.positions.T).T
    try:
        crystal: Any = (frame.cell, scaled, frame.numbers)
        found = spglib.get_symmetry_dataset(crystal, SYMPREC, angle_tolerance=ANGLE)
    except spglib.SpglibError:
        found = None
    return (0, "no symmetry found") if found is None else (found.number, found.international)


@dataclass
class Subset:
    """Keeps the frames that every given rule admits; a rule that is None admits all.

    contains_element: a symbol, or several of which one must be there; space_group: number or symbol; band_gap:
    [low, high] in eV, None for an open end. Band gap and space group are those of a material: of its frames (the
    consecutive ones of the same `Frame.group`) the one of the lowest energy speaks for all.
    """

    config_type: str | list[str] | None = None
    contains_element: str | list[str] | None = None
    space_group: int | str | None = None
    band_gap: list[float | None] | None = None
    min_atoms: int | None = None

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The frames that are kept, in their order. Raises DataError at the end where a rule kept nothing."""
        kept = iter(frames)
        for name, make in RULES.items():
            value = getattr(self, name)
            if value is not None:
                kept = sieved(kept, f"data.subset.{name}={value}", make(value))
        return kept


RULES: dict[str, Callable[[Any], Rule]] = {  # cheap ones first
    "config_type": config_type,
    "contains_element": contains_element,
    "min_atoms": min_atoms,
    "band_gap": band_gap,
    "space_group": space_group,
}


def sieved(frames: Iterator[Frame], option: str, rule: Rule) -> Iterator[Frame]:
    """Frames that a rule admits; says at the end how many it left out and what those were."""
    kept = left = 0
    seen: Counter[str] = Counter()
    for together in materials(frames) if rule.by_material else ([frame] for frame in frames):
        spokesman = min(together, key=lambda frame: np.inf if frame.energy is None else frame.energy)
        if rule.admits(spokesman):
            kept += len(together)
            yield from together
        else:
            left += len(together)
            seen.update({value: len(together) for value in rule.seen(spokesman)})
    others = ", ".join(f"{value} ({count:,})" for value, count in seen.most_common(SHOWN))
    if left and not kept:
        raise DataError(f"{option} matches none of {left:,} structures", f"there are {others}")
    log.info("%s keeps %s structures and leaves out %s%s", option, f"{kept:,}", f"{left:,}", f": {others}" * bool(left))


def materials(frames: Iterator[Frame]) -> Iterator[list[Frame]]:
    """Consecutive frames of one group together; a frame without a group is on its own."""
    for group, together in groupby(frames, key=lambda frame: frame.group):
        if group:
            yield list(together)
        else:
            yield from ([frame] for frame in together)


def listed(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def compare_size(name: str, count: int, expected: int | None) -> None:
    """Say how many structures a data set has, and warn where that is not what its paper says."""
    if expected is None:
        log.info("data %s: %s structures", name, f"{count:,}")
        return
    message = f"data {name}: {count:,} structures, expected {expected:,} ({(count - expected) / expected:+.1%})"
    if abs(count - expected) > NOTICED * expected:
        log.warning("%s: another version of the source, or another selection; see docs/data.md", message)
    else:
        log.info("%s", message)

"""Energy profiles along a torsion: minima, maxima, barriers, and how far one profile is from another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

TURN = 360.0  # degrees
WIDEST_GAP = 2.0  # times the median spacing: angles that leave a wider gap do not close a full turn

Angle = TypeVar("Angle", float, np.ndarray)


class Extremum(NamedTuple):
    """A minimum or a maximum of a profile."""

    angle_deg: float  # from 0 to below 360
    energy_meV: float  # above the lowest minimum of the profile


@dataclass(frozen=True)
class Profile:
    """Energies at angles of a torsion. Angles at which an energy is not finite do not count."""

    angles: np.ndarray  # [M] degrees, in any order
    energies: np.ndarray  # [M] eV

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """The angles [K] from 0 to below 360 in ascending order, and the energies [K] in eV at them, all finite."""
        finite = np.isfinite(self.energies)
        angles, energies = self.angles[finite] % TURN, self.energies[finite]
        order = np.argsort(angles, kind="stable")
        return angles[order], energies[order]

    def extrema(self) -> tuple[list[Extremum], list[Extremum]]:
        """The minima and the maxima, in the order of their angles; at an open end there is none.

        Each is that of the parabola through the lowest (highest) point and its two neighbours, whose error is of third
        order in their distance. Of equal points in a row the first counts.
        """
        angles, energies = self.points()
        if len(angles) < 3:
            return [], []
        before, after = np.roll(energies, 1), np.roll(energies, -1)
        inner = np.ones(len(angles), dtype=bool)
        if not closes(angles):
            inner[[0, -1]] = False
        found = []
        for sign in (1.0, -1.0):
            places = np.flatnonzero(inner & (sign * energies < sign * before) & (sign * energies <= sign * after))
            found.append([vertex(angles, energies, place) for place in places.tolist()])
        lowest = min([energy for _, energy in found[0]], default=float(energies.min()))
        minima, maxima = ([Extremum(angle % TURN, 1e3 * (energy - lowest)) for angle, energy in each] for each in found)
        return minima, maxima

    def summary(self) -> dict[str, Any]:
        """The extrema; the highest maximum, which is the barrier to a full turn; and where the lowest minimum is."""
        minima, maxima = self.extrema()
        top = max(maxima, key=lambda each: each.energy_meV, default=None)
        bottom = min(minima, key=lambda each: each.energy_meV, default=None)
        return {
            "barrier_meV": top.energy_meV if top and bottom else None,
            "barrier_angle_deg": top.angle_deg if top else None,
            "minimum_angle_deg": bottom.angle_deg if bottom else None,
            "minima": [each._asdict() for each in minima],
            "maxima": [each._asdict() for each in maxima],
        }


def wrapped(difference: Angle) -> Angle:
    """Differences of angles (degrees) as the shorter way around, from −180 to below 180."""
    return (difference + TURN / 2) % TURN - TURN / 2


def closes(angles: np.ndarray) -> bool:
    """Whether ascending angles (degrees) go around the full turn without a gap."""
    gaps = np.diff(angles, append=angles[0] + TURN)
    return bool(gaps.max() <= WIDEST_GAP * np.median(gaps))


def vertex(angles: np.ndarray, energies: np.ndarray, place: int) -> tuple[float, float]:
    """Angle and energy of the vertex of the parabola through a point and its two neighbours around the turn."""
    around = np.array([place - 1, place + 1]) % len(angles)
    x = wrapped(angles[around] - angles[place])
    quadratic, linear = np.linalg.solve(np.stack([x**2, x], axis=1), energies[around] - energies[place])
    return float(angles[place] - linear / (2 * quadratic)), float(energies[place] - linear**2 / (4 * quadratic))


def relative_rmse(energies: np.ndarray, others: np.ndarray) -> float | None:
    """The root mean square difference (meV) of two profiles at the same angles, apart from a constant; None without two
    angles at which both are finite. energies, others: [M] eV.

    The constant is the mean difference, so that no single point is privileged.
    """
    difference = (energies - others)[np.isfinite(energies) & np.isfinite(others)]
    return float(1e3 * np.std(difference)) if len(difference) > 1 else None


def nearest(extrema: Sequence[Mapping[str, float]], angle: float | None) -> float | None:
    """By how much (degrees, from −180 to below 180) the nearest of some extrema lies beyond an angle.

    Torsions have equivalent minima, of which rounding would otherwise choose one.
    """
    if angle is None or not extrema:
        return None
    shifts = [wrapped(each["angle_deg"] - angle) for each in extrema]
    return min(shifts, key=abs)


@dataclass(frozen=True)
class Curves:
    """Energies of several force fields at the same angles."""

    title: str  # which dihedral or slice
    angles: np.ndarray  # [M] degrees
    energies: Mapping[str, np.ndarray]  # [M] eV by the name of the force field

    def relative(self, name: str) -> np.ndarray:
        """[M] meV above the lowest point of the curve; not a number where there is no energy."""
        energies = self.energies[name]
        finite = energies[np.isfinite(energies)]
        return 1e3 * (energies - (finite.min() if len(finite) else np.nan))

    def compare(self, against: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The summary of each curve by its name, with its differences from those of the curves in `against`."""
        found = {name: Profile(self.angles, energies).summary() for name, energies in self.energies.items()}
        differences = {
            name: {
                f"to_{other}": {
                    "rmse_meV": relative_rmse(self.energies[name], self.energies[other]),
                    "barrier_meV": minus(found[name]["barrier_meV"], found[other]["barrier_meV"]),
                    "barrier_angle_deg": nearest(found[name]["maxima"], found[other]["barrier_angle_deg"]),
                    "minimum_angle_deg": nearest(found[name]["minima"], found[other]["minimum_angle_deg"]),
                }
                for other in against
                if other in found and other != name
            }
            for name in found
        }
        return {name: {**found[name], **differences[name]} for name in found}


def minus(value: float | None, other: float | None) -> float | None:
    """A difference of two values where there are both."""
    return None if value is None or other is None else value - other

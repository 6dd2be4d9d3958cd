"""Screening: structures that are unfit for training are counted, logged and quarantined in a file."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from ase.io import write

from jointkd.data.distance_checks import check_distances
from jointkd.errors import DataError
from jointkd.structures.cells import cell_fault
from jointkd.structures.frame import Frame
from jointkd.structures.neighbors import find_pairs, lengths

CLOSEST = 0.3  # Å; no two nuclei of a real structure are that close
SEARCH_CUTOFF = 3.0  # Å; a search for pairs within a smaller cutoff takes longer, because it has more cells to visit
STUDENT_CUTOFF = 6.0  # Å; of usual students, within which the number of neighbours must be bounded
FIRST = 1000  # structures from which a sample is taken to check the unit of length
SAME_ENERGY = 1e-3  # eV/atom; energies of one structure that differ by more contradict each other

OTHER_CHARGE = "the same structure occurs with another charge"
OTHER_ENERGY = "the same structure occurs with another energy"


@dataclass(frozen=True)
class Rejected:
    """A quarantined frame and the reason."""

    frame: Frame
    reason: str


@dataclass
class Screening:
    """What a pass over the frames of a set finds.

    max_force: eV/Å, the largest plausible force component. rejected: the frames that were set aside, with reasons;
    contradicted: keys of frames that passed before another one with the same key contradicted them, with the reason.
    """

    max_force: float
    rejected: list[Rejected] = field(default_factory=list)
    contradicted: dict[str, str] = field(default_factory=dict)

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The frames that pass. Of identical structures the first one passes.

        Raises DataError if the interatomic distances of the first ones show that the unit of length is wrong.
        """
        frames = iter(frames)
        first = list(islice(frames, FIRST))
        check_distances([frame for frame in first if find_fault(frame, np.inf, 0.0) is None])
        passed: dict[str, tuple[str | None, float | None, float]] = {}  # split, energy and charge by key
        for frame in chain(first, frames):
            reason = find_fault(frame, self.max_force)
            if reason is None and frame.key in passed:
                reason = self.repeated(frame, *passed[frame.key])
            if reason is None:
                passed[frame.key] = frame.split, frame.energy, frame.charge
                yield frame
            else:
                self.rejected.append(Rejected(frame, reason))

    def repeated(self, frame: Frame, split: str | None, energy: float | None, charge: float) -> str:
        """The reason to set aside a frame whose structure has passed before, with these labels."""
        if frame.charge != charge:
            self.contradicted[frame.key] = OTHER_CHARGE
            return OTHER_CHARGE
        if energy is not None and frame.energy is not None and abs(frame.energy - energy) > SAME_ENERGY * len(frame):
            self.contradicted[frame.key] = OTHER_ENERGY
            return OTHER_ENERGY
        reason = "the same structure occurs twice"
        if energy is None and frame.energy is not None:
            reason += ", first without an energy: let the file with labels be read first"
        if split != frame.split:
            reason += f", as {split or 'no split'} and as {frame.split or 'no split'}"
        return reason

    def check_share(self, passed: int) -> None:
        """Raise DataError if half of the frames or more were rejected. passed: the number of those that were not."""
        if self.rejected and len(self.rejected) >= passed:
            (reason, count), *_ = Counter(entry.reason for entry in self.rejected).most_common(1)
            raise DataError(
                f"{len(self.rejected)} of {len(self.rejected) + passed} structures are unusable, {count} because "
                f"{reason} (first: {self.rejected[0].frame.source})",
                "check data.units.length, data.units.energy and the keys, or raise data.max_force",
            )


def find_fault(frame: Frame, max_force: float, closest: float = CLOSEST) -> str | None:
    """The reason why a frame is unusable, or None. max_force: eV/Å; closest: Å."""
    if frame.fault:
        return frame.fault
    if not len(frame):
        return "it has no atoms"
    if not ((frame.numbers > 0) & (frame.numbers < len(chemical_symbols))).all():
        return "an atom is of no element (a dummy atom, X)"
    if fault := cell_fault(frame.positions, frame.cell, frame.pbc, STUDENT_CUTOFF):
        return fault
    if frame.energy is not None and not np.isfinite(frame.energy):
        return "the energy is not finite"
    if frame.forces is not None:
        if not np.isfinite(frame.forces).all():
            return "forces are not finite"
        if np.abs(frame.forces).max() > max_force:
            return f"a force is larger than data.max_force={max_force:g} eV/Å"
    pairs = find_pairs(frame.positions, frame.cell, frame.pbc, SEARCH_CUTOFF) if closest else None
    if pairs is not None and (lengths(pairs, frame.positions, frame.cell) < closest).any():
        return f"two atoms are closer than {CLOSEST} Å"
    return None


def quarantine(rejected: Sequence[Rejected], path: Path) -> None:
    """Write the rejected frames, if there are any, with their reasons."""
    atoms = []
    for frame, reason in ((entry.frame, entry.reason) for entry in rejected):
        structure = frame.to_ase()
        structure.info.update(reason=reason, source=frame.source)
        if frame.energy is not None:
            structure.info["rejected_energy"] = frame.energy
        if frame.forces is not None:
            structure.arrays["rejected_forces"] = frame.forces
        atoms.append(structure)
    if atoms:
        write(path, atoms, format="extxyz")

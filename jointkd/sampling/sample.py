"""Sampling: trajectory by trajectory, diverse structures that are whole and of plausible energy join a file."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from jointkd.data.unlabelled import PARENT
from jointkd.errors import DataError
from jointkd.files.atomic import combined_sha256
from jointkd.labels.records import TeacherLabels
from jointkd.progress import Progress, format_time
from jointkd.sampling.force_fields import Movers, TimedTeacher
from jointkd.sampling.options import SamplingOptions
from jointkd.sampling.sampled_file import TRAJECTORY, SampledFile, Tally
from jointkd.sampling.selection import displaced_by, farthest
from jointkd.sampling.trajectories import dynamics, rattle
from jointkd.simulation.start import report_charges
from jointkd.structures.columns import elements_of, evenly_spread, keys_of
from jointkd.structures.fingerprints import MOST_KNOWN, fingerprint
from jointkd.structures.frame import Frame, charge_entries
from jointkd.students.student_file import locate_student
from jointkd.teachers.base import Teacher, check_elements
from jointkd.teachers.calculator import frame_of
from jointkd.teachers.charges import check_charges

log = logging.getLogger(__name__)

EARLY, SECONDS = "trajectories that ended early", "seconds"  # of the tally in the file


class Sampled(NamedTuple):
    """The structures in a file, and what all commands that made it have counted."""

    structures: list[Atoms]
    early: int  # trajectories that ended early
    seconds: float  # of the teacher


def sample(
    options: SamplingOptions, frames: Sequence[Frame], teacher: Teacher, entries: dict[str, str], max_force: float
) -> Sampled:
    """Make structures from those of a training split, and return all in the file. Raises UserErrors.

    entries: what each new structure says beside its origin, as {"split": "train"}, `group` for that of its parent;
    max_force: eV/Å, the largest force component of the teacher.
    """
    starts = [frame for frame in frames if len(frame) > 1]
    if not starts:
        raise DataError("no training structure has more than one atom", "give structures that can move")
    if left_out := len(frames) - len(starts):
        log.warning("%d of %d training structures are left out: one atom cannot move", left_out, len(frames))
    check_elements(starts, teacher.identity)
    check_charges(starts, teacher)
    if not options.by_teacher:
        report_charges([frame.info for frame in starts], "the training split", "where the student moves atoms")
    timed = TimedTeacher(teacher)
    sampler = Sampler(options, starts, timed, Movers(options, timed), entries, max_force)
    with SampledFile(Path(options.output).expanduser(), made_with(options, frames, teacher)) as file:
        tally = sampler.fill(file)
        return Sampled(file.structures, round(tally[EARLY]), tally[SECONDS])


def made_with(options: SamplingOptions, frames: Sequence[Frame], teacher: Teacher) -> dict[str, Any]:
    """All that new structures depend on, as JSON."""
    content = hashlib.sha256("".join(sorted(keys_of(frames))).encode()).hexdigest()
    student = None if options.by_teacher else combined_sha256(locate_student(Path(options.mover).expanduser()))
    return {**options.recorded(), "starts": content, "student": student, "teacher": teacher.identity.fingerprint()}


class Sampler:
    """Makes structures and chooses among them; for arguments see `sample`."""

    def __init__(
        self,
        options: SamplingOptions,
        starts: Sequence[Frame],
        teacher: TimedTeacher,
        movers: Movers,
        entries: dict[str, str],
        max_force: float,
    ) -> None:
        self.options, self.starts, self.teacher, self.movers = options, starts, teacher, movers
        self.entries, self.max_force = entries, max_force
        self.elements = np.array(elements_of(starts))
        self.order = np.random.default_rng(options.seed).permutation(len(starts))
        self.temperatures: Sequence[float | None] = options.temperatures if options.how == "dynamics" else (None,)
        self.trajectories = len(starts) * len(self.temperatures)  # of one pass over all starts
        self.quota = -(-options.number // self.trajectories)
        self.planned = options.steps // options.interval if options.how == "dynamics" else 2 * self.quota
        self.rejected: Counter[str] = Counter()
        self.energies: dict[str, float] = {}  # eV, of starts by key

    def fill(self, file: SampledFile) -> Tally:
        """Add structures to the file until there are enough, the teacher's time is used, or a pass finds none.

        Returns what was counted, with what the file had before.
        """
        known = [fingerprint(frame, self.elements) for frame in evenly_spread(self.starts, MOST_KNOWN)]
        known += [fingerprint(frame_of(atoms, {}), self.elements) for atoms in file.structures]
        number, before, empty, earlier = self.options.number, len(file.structures), 0, file.tally
        with Progress("sampling", before, number, unit=" structures") as progress:
            for trajectory in count(file.next_trajectory):
                if len(file.structures) >= number or self.out_of_time or empty >= self.trajectories:
                    break
                kept, prints = self.choose(trajectory, np.array(known), number - len(file.structures))
                empty = 0 if kept else empty + 1
                if kept:
                    file.append(kept, self.tally(earlier))
                    known += prints
                progress.show(len(file.structures), lambda: f"{len(file.structures)} of {number} structures")
        self.report(file, before)
        return self.tally(earlier)

    def tally(self, earlier: Tally) -> Tally:
        """What was counted here and before."""
        here = {EARLY: float(self.rejected[EARLY]), SECONDS: self.teacher.seconds}
        return {name: earlier.get(name, 0.0) + count for name, count in here.items()}

    @property
    def out_of_time(self) -> bool:
        """Whether the teacher's time is used."""
        return self.teacher.seconds >= self.options.seconds

    def choose(self, trajectory: int, known: np.ndarray, room: int) -> tuple[list[Atoms], list[np.ndarray]]:
        """The structures of a trajectory that are kept, at most `room`, and their fingerprints."""
        start, temperature = self.begin(trajectory)
        rng = np.random.default_rng([self.options.seed, trajectory])
        candidates = [frame_of(atoms, start.info) for atoms in self.within_time(self.move(start, temperature, rng))]
        self.rejected[EARLY] += len(candidates) < self.planned and not self.out_of_time
        if not candidates:
            return [], []
        prints = np.array([fingerprint(frame, self.elements) for frame in candidates])
        closest = displaced_by(start, self.elements, self.options.duplicate, rng)
        chosen = farthest(prints, known, min(self.quota, room), closest)
        self.rejected["trajectories of duplicates"] += not chosen
        sound = self.plausible(start, [candidates[index] for index in chosen])
        kept = [index for index, is_sound in zip(chosen, sound, strict=True) if is_sound]
        origin = self.origin(start, trajectory, temperature)
        return [described(candidates[index], origin) for index in kept], [prints[index] for index in kept]

    def begin(self, trajectory: int) -> tuple[Frame, float | None]:
        """The start of a trajectory and its temperature (K): all starts, at all temperatures in turn."""
        passes, place = divmod(trajectory, len(self.starts))
        return self.starts[self.order[place]], self.temperatures[(place + passes) % len(self.temperatures)]

    def move(self, start: Frame, temperature: float | None, rng: np.random.Generator) -> Iterator[Atoms]:
        """The structures on the way from a start."""
        calculator = self.movers.calculator(start)
        if temperature is None:
            return rattle(start, calculator, self.planned, self.options, rng)
        return dynamics(start, calculator, temperature, self.options, rng)

    def within_time(self, structures: Iterator[Atoms]) -> Iterator[Atoms]:
        """The structures, until the teacher's time is used."""
        for atoms in structures:
            yield atoms
            if self.out_of_time:
                return

    def plausible(self, start: Frame, frames: list[Frame]) -> list[bool]:
        """Whether the teacher's energy of each structure is in the window, and its forces below the largest."""
        if not frames:
            return []
        first = [] if start.key in self.energies else [start]
        labels = self.teacher.label([*first, *frames])
        if first:
            alone = labels.pop(0)
            self.energies[start.key] = np.nan if isinstance(alone, str) else alone.energy
        return [self.is_plausible(label, self.energies[start.key]) for label in labels]

    def is_plausible(self, labels: TeacherLabels | str, energy: float) -> bool:
        """Whether labels are those of a sound structure. energy: eV, of its start."""
        if isinstance(labels, str) or not labels.finite() or np.isnan(energy):
            self.rejected["the teacher fails"] += 1
        elif labels.energy - energy > self.options.window * len(labels.forces):
            self.rejected[f"energies above window={self.options.window:g} eV/atom"] += 1
        elif np.abs(labels.forces).max() > self.max_force:
            self.rejected[f"forces above data.max_force={self.max_force:g} eV/Å"] += 1
        else:
            return True
        return False

    def origin(self, start: Frame, trajectory: int, temperature: float | None) -> dict[str, Any]:
        """What a new structure says of where it is from; a structure made from a new one has the same parent."""
        mover = self.teacher.teacher.identity.name if self.options.by_teacher else f"student {self.options.mover}"
        own = charge_entries(start.info)
        entries = {name: start.group if entry == "group" else entry for name, entry in self.entries.items()}
        own |= {name: entry for name, entry in entries.items() if entry}
        own |= {"source": f"{self.options.how} with {mover}", PARENT: start.info.get(PARENT, start.key)}
        own |= {} if temperature is None else {"temperature": temperature}
        return {**own, TRAJECTORY: trajectory}

    def report(self, file: SampledFile, before: int) -> None:
        """Log how many structures there are, what was rejected, and how much of the teacher's time it took."""
        rejected = ", ".join(f"{reason} ({number})" for reason, number in self.rejected.items() if number) or "nothing"
        log.info(
            "%s: %d structures, %d of them new, in %s of the teacher's time; rejected: %s",
            file.path,
            len(file.structures),
            len(file.structures) - before,
            format_time(self.teacher.seconds),
            rejected,
        )
        if len(file.structures) < self.options.number and not self.out_of_time:
            log.warning(
                "no further structures differ enough from those at hand: raise temperatures, steps or displacement, or "
                "lower duplicate"
            )


def described(frame: Frame, origin: dict[str, Any]) -> Atoms:
    """A structure for the file, without labels."""
    atoms = frame.to_ase()
    atoms.info.update(origin)
    return atoms

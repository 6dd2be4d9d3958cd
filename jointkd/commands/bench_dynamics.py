"""How fast a student runs dynamics here, beside its teacher: milliseconds per step and nanoseconds per day."""

import logging
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.md.verlet import VelocityVerlet
from omegaconf import DictConfig

from jointkd.commands.build import plain
from jointkd.deploy.ase import JointKD
from jointkd.errors import DataError
from jointkd.ranges import check_integer
from jointkd.simulation.dynamics import ns_per_day
from jointkd.simulation.start import read_start, thermalize
from jointkd.structures.frame import Frame
from jointkd.teachers.base import Teacher

log = logging.getLogger(__name__)

STUDENT = "student"  # among the force fields
WARM_UP = 3  # steps
TIMESTEP = 1.0  # fs
SMALL = 0.01  # fs, of the steps that are timed: nothing flies apart
VOLUME = 29.9  # Å³ of a molecule of water


def dynamics(config: DictConfig, run: str, teacher: Teacher | None) -> list[dict[str, Any]]:
    """The times of steps by system and force field, which are also printed as a table. run: a student's.

    A step of the teacher is one of its labels without rows. Raises ConfigError and DataError.
    """
    options, results = config.bench, []
    for size in options.sizes:
        check_integer("bench.sizes", size)
    student = JointKD(run, options.device, trust=plain(options.trust))
    known = set(student.references) or None
    for atoms in systems(options.structures, list(options.sizes)):
        if options.structures is None and known and not {1, 8} <= known:
            raise DataError("the student does not know water", "give a file of your own with bench.structures=FILE")
        steps: dict[str, Callable[[], object]] = {STUDENT: stepper(atoms, student)}
        if teacher is not None:
            steps[f"{teacher.identity.name}, {teacher.identity.dtype}"] = labelling(atoms, teacher)
        for name, step in steps.items():
            seconds = timed(step, options.steps)
            result = {
                "atoms": len(atoms),
                "force_field": name,
                "ms": 1e3 * seconds,
                "ns_per_day": ns_per_day(1, TIMESTEP, seconds),
            }
            log.info("%6d atoms  %-30s %10.3g ms per step  %8.3g ns/day at 1 fs", *result.values())
            results.append(result)
    return results


def systems(structures: str | None, sizes: list[int]) -> Iterator[Atoms]:
    """Boxes of water of these sizes; or the first structure of a file and, if it is periodic, its supercells."""
    if structures is None:
        yield from map(water, sizes)
        return
    atoms = read_start(structures, 0)
    atoms.set_constraint()
    yield atoms
    axes = np.flatnonzero(atoms.pbc)
    for size in sizes if len(axes) else []:
        times = np.ones(3, dtype=int)
        times[axes] = round((size / len(atoms)) ** (1 / len(axes)))
        if times.prod() > 1:
            yield atoms.repeat(times)


def water(size: int) -> Atoms:
    """A periodic box of about so many atoms of water at its density, the molecules in random directions."""
    rng, count = np.random.default_rng(0), max(1, size // 3)
    edge, cells = (count * VOLUME) ** (1 / 3), int(np.ceil(count ** (1 / 3)))
    atoms = Atoms(cell=3 * [edge], pbc=True)
    for place in rng.permutation(np.argwhere(np.ones(3 * [cells])))[:count]:
        one = molecule("H2O")
        one.euler_rotate(*rng.uniform(0, 360, 3))
        one.positions += edge / cells * place
        atoms += one
    return atoms


def stepper(atoms: Atoms, student: JointKD) -> Callable[[], object]:
    """A step of velocity Verlet with a student."""
    moving = atoms.copy()
    moving.calc = student
    thermalize(moving, 300.0, np.random.default_rng(0))
    integrator = VelocityVerlet(moving, SMALL * units.fs)
    return lambda: integrator.run(1)


def labelling(atoms: Atoms, teacher: Teacher) -> Callable[[], object]:
    """Energy and forces of a teacher."""
    frame = Frame(atoms.numbers.astype(np.int64), atoms.positions, atoms.cell.array, atoms.pbc)
    return lambda: teacher.label([frame], [np.empty(0, dtype=np.int64)])


def timed(step: Callable[[], object], count: int) -> float:
    """The median time of a step, in s."""
    times = []
    for number in range(WARM_UP + count):
        start = time.perf_counter()
        step()
        if number >= WARM_UP:
            times.append(time.perf_counter() - start)
    return statistics.median(times)

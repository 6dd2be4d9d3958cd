"""Paths through the configurations of a structure, along which errors are sampled: turns, translations and lines."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from jointkd.errors import ConfigError, DataError
from jointkd.ranges import check_integer, check_number, check_seed
from jointkd.simulation.dihedrals import Dihedral, collisions, rotatable
from jointkd.simulation.stability import label

log = logging.getLogger(__name__)

TURNS, TRANSLATIONS, LINES = KINDS = ("turns", "translations", "lines")
FEWEST = 8  # structures along a path


@dataclass(frozen=True)
class PathOptions:
    """Which paths are sampled. Raises ConfigError for a value out of its range."""

    along: str = TURNS  # of dihedrals; or translations of an atom of a crystal, or lines in random directions
    dihedral: list[int] | None = None  # of turns; None: every bond that can turn
    atom: int = 0  # of translations
    vector: tuple[int, ...] = (1, 0, 0)  # of translations, in lattice vectors
    length: float = 0.5  # Å, of lines, of all coordinates together
    paths: int = 24  # at most, drawn from those of all structures
    steps: int = 64  # structures along a path
    seed: int = 0  # of the choice of paths, and of directions

    def __post_init__(self) -> None:
        if self.along not in KINDS:
            raise ConfigError(f"along={self.along} is not known", f"choose one of {', '.join(KINDS)}")
        check_integer("steps", self.steps, least=FEWEST)
        check_integer("paths", self.paths)
        check_number("length", self.length, "Å")
        check_seed("seed", self.seed)


@dataclass(frozen=True)
class Path:
    """Evenly spaced structures along one coordinate s, which begins anew after `length` if the path is periodic."""

    title: str
    structures: list[Atoms]  # M of them
    tangents: np.ndarray  # [M, N, 3] dR/ds, Å per unit of s
    length: float  # in `unit`
    unit: str  # rad or Å
    periodic: bool


def turn(structure: Atoms, dihedral: Dihedral, steps: int, title: str) -> Path:
    """A dihedral through its full turn of 2π rad."""
    structures = [dihedral.turned(structure, 360.0 * step / steps) for step in range(steps)]
    tangents = np.zeros((steps, len(structure), 3))
    for tangent, atoms in zip(tangents, structures, strict=True):
        fixed, end = atoms.positions[list(dihedral.atoms[1:3])]
        axis = (end - fixed) / np.linalg.norm(end - fixed)
        tangent[dihedral.turning] = np.cross(axis, atoms.positions[dihedral.turning] - end)
    return Path(f"{title}: {dihedral.describe(structure)}", structures, tangents, 2 * np.pi, "rad", periodic=True)


def translation(structure: Atoms, atom: int, vector: Sequence[int], steps: int, title: str) -> Path:
    """One atom of a crystal, with its images, along a lattice vector to the place of its image.

    vector: three integers, of lattice vectors. Raises ConfigError, DataError.
    """
    if not 0 <= atom < len(structure):
        raise ConfigError(f"atom={atom}: {title} has {len(structure)} atoms", "count them from 0")
    if len(vector) != 3 or not any(vector) or not all(isinstance(each, int) for each in vector):
        raise ConfigError(f"vector={list(vector)} must be three integers, not all 0", "give vector=[1,0,0]")
    if not structure.pbc[np.flatnonzero(vector)].all():
        raise DataError(f"{title} is not periodic along vector={list(vector)}", "give a crystal, or another vector")
    way = np.asarray(vector) @ structure.cell.array
    length = float(np.linalg.norm(way))
    structures = []
    for step in range(steps):
        structures.append(structure.copy())
        structures[-1].positions[atom] += way * step / steps
    tangents = np.zeros((steps, len(structure), 3))
    tangents[:, atom] = way / length
    name = f"{title}: {label(structure, atom)} along {''.join(map(str, vector))}"
    return Path(name, structures, tangents, length, "Å", periodic=True)


def line(structure: Atoms, length: float, steps: int, rng: np.random.Generator, title: str) -> Path:
    """A straight line of `length` (Å, of all coordinates together) in a random direction, the structure in its middle.

    The centre of the atoms rests. The path is not periodic.
    """
    direction = rng.standard_normal((len(structure), 3))
    direction -= direction.mean(axis=0)
    direction /= np.linalg.norm(direction)
    structures = []
    for step in range(steps):
        structures.append(structure.copy())
        structures[-1].positions += direction * length * ((step + 0.5) / steps - 0.5)
    return Path(f"{title}: line", structures, np.repeat(direction[None], steps, axis=0), length, "Å", periodic=False)


def draw_paths(structures: Sequence[Atoms], places: Sequence[str], options: PathOptions) -> list[Path]:
    """The paths of all structures, or as many of them as are asked for, drawn at random.

    Turns along which atoms collide are left out, which the log says. places: names of the structures. Raises DataError
    where no path is left.
    """
    rng = np.random.default_rng(options.seed)
    every = [made for pair in zip(structures, places, strict=True) for made in candidates(*pair, options, rng)]
    order = rng.permutation(len(every)) if len(every) > options.paths else np.arange(len(every))
    kept: list[Path] = []
    collided = 0
    for place in order:
        path, start = every[place]
        if len(kept) == options.paths:
            break
        if options.along == TURNS and collisions(path.structures, start):
            collided += 1
            continue
        kept.append(path)
    if collided:
        log.info("%d turns along which atoms that are not bonded collide are left out", collided)
    if not kept:
        raise DataError(
            f"no path is left: {len(every)} bonds can turn, and atoms collide along all of them",
            "give other structures, or along=lines",
        )
    return kept


def candidates(
    structure: Atoms, place: str, options: PathOptions, rng: np.random.Generator
) -> Iterator[tuple[Path, Atoms]]:
    """The paths of one structure, with the structure. Raises ConfigError, DataError."""
    if options.along == TRANSLATIONS:
        yield translation(structure, options.atom, options.vector, options.steps, place), structure
    elif options.along == LINES:
        yield line(structure, options.length, options.steps, rng, place), structure
    elif options.dihedral is not None:
        yield turn(structure, Dihedral.of(structure, options.dihedral, place), options.steps, place), structure
    else:
        if structure.pbc.any():
            raise DataError(f"{place} is periodic, and dihedrals are turned in molecules", "give along=translations")
        for dihedral in rotatable(structure):
            yield turn(structure, dihedral, options.steps, place), structure

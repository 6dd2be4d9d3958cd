"""Statistics of a data set, and the entries that look like mistakes."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from jointkd.data.energy_checks import FREE_ATOMS
from jointkd.data.outliers import least_absolute_deviations
from jointkd.data.readers.units import ENERGY
from jointkd.data.splits import shared_groups
from jointkd.data.stored_neighbors import NeighborsOf
from jointkd.structures.columns import composition, evenly_spread
from jointkd.structures.frame import Frame

SAMPLE_SIZE = 2000  # structures whose neighbours are analysed
MAX_NAMED = 3  # suspicious structures that are named in a line
ZERO_FORCE = 1e-6  # eV/Å; smaller components count as zero
SAME_ENERGY = 1e-5  # eV; energies of different structures with the same formula rarely agree this closely
SAME_FORCE = 0.01  # eV/Å; forces on corresponding atoms of copies agree more closely
DEVIATIONS = 4.0  # standard deviations by which equal energies must exceed those that chance explains
QUARTILES = 1.349  # distance between the quartiles of a normal distribution, in standard deviations
NET_FORCE = 0.01  # eV/Å per atom; the forces of an isolated or periodic system sum to zero
ENERGY_OUTLIER = 12.0  # times the median absolute deviation
LARGE_FORCE = 20.0  # times the median over structures of the largest component


@dataclass(frozen=True)
class Findings:
    """Statistics over all structures of all splits; arrays over structures have the same order."""

    name: str
    cutoff: float  # Å
    splits: np.ndarray  # [structures] train, val or test
    sizes: np.ndarray  # [structures] atoms
    elements: dict[int, tuple[int, int]]  # number of structures with each element, and of its atoms
    energies: np.ndarray | None  # [structures] eV/atom, relative to `fitted`
    fitted: dict[int, float]  # eV by atomic number: fitted energies of the elements
    forces: np.ndarray | None  # [structures] eV/Å: root mean square of the components
    largest: np.ndarray | None  # [structures] eV/Å: the largest component
    neighbors: np.ndarray  # [atoms of the sample] neighbours within the cutoff
    nearest: dict[str, np.ndarray]  # Å: nearest-neighbour distances in the sample, by the pair of elements
    sample_size: int  # structures in the sample
    groups: int
    shared: dict[str, float]  # see `splits.shared_groups`
    suspicious: list[str]
    set_aside: Mapping[str, int]  # number of quarantined structures by reason


def analyse(
    name: str,
    frames: Mapping[str, Sequence[Frame]],
    neighbors: NeighborsOf,
    cutoff: float,
    set_aside: Mapping[str, int] | None = None,
) -> Findings:
    """The statistics of all structures, and of the neighbours in a sample of them."""
    everything = [frame for part in frames.values() for frame in part]
    splits = np.array([split for split, part in frames.items() for _ in part])
    sizes = np.array([len(frame) for frame in everything])
    present = sorted({z for frame in everything for z in frame.numbers.tolist()})
    counts = composition(everything, present)
    fitted: dict[int, float] = {}
    energies = largest = forces = None
    if all(frame.energy is not None for frame in everything):
        totals = np.array([frame.energy for frame in everything], dtype=float)
        solution = least_absolute_deviations(counts / sizes[:, None], totals / sizes)
        fitted = dict(zip(present, solution.tolist(), strict=True))
        energies = (totals - counts @ solution) / sizes
    known_forces = [frame.forces for frame in everything if frame.forces is not None]
    if len(known_forces) == len(everything):
        largest = np.array([np.abs(components).max() for components in known_forces])
        forces = np.array([np.sqrt(np.mean(np.square(components))) for components in known_forces])
    sample = evenly_spread(everything, SAMPLE_SIZE)
    coordination, nearest = analyse_neighbors(sample, neighbors)
    return Findings(
        name=name,
        cutoff=cutoff,
        splits=splits,
        sizes=sizes,
        elements={z: (int((n > 0).sum()), int(n.sum())) for z, n in zip(present, counts.T, strict=True)},
        energies=energies,
        fitted=fitted,
        forces=forces,
        largest=largest,
        neighbors=coordination,
        nearest=nearest,
        sample_size=len(sample),
        groups=len({frame.group for frame in everything} - {""}),
        shared=shared_groups(frames),
        suspicious=[
            *suspicious_energies(everything, splits, energies, fitted),
            *suspicious_forces(everything, largest),
            *isolated_atoms(coordination),
            *charged_structures(everything),
        ],
        set_aside=set_aside or {},
    )


def analyse_neighbors(frames: Sequence[Frame], neighbors: NeighborsOf) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The number of neighbours of each atom, and the nearest-neighbour distances (Å) by the pair of elements."""
    counts, nearest = [], defaultdict(list)
    for frame in frames:
        edge_index, shift, _ = neighbors(frame)
        source, target = edge_index.numpy()
        counts.append(np.bincount(target, minlength=len(frame)))
        distances = np.linalg.norm(frame.positions[source] + shift.numpy() - frame.positions[target], axis=1)
        order = np.lexsort((distances, target))
        shortest = order[np.unique(target[order], return_index=True)[1]]  # edge to each atom
        for edge in shortest.tolist():
            pair = sorted(chemical_symbols[frame.numbers[atom]] for atom in (source[edge], target[edge]))
            nearest["–".join(pair)].append(distances[edge])
    pairs = sorted(nearest, key=lambda pair: -len(nearest[pair]))
    return np.concatenate(counts), {pair: np.array(nearest[pair]) for pair in pairs}


def suspicious_energies(
    frames: Sequence[Frame], splits: np.ndarray, energies: np.ndarray | None, fitted: Mapping[int, float]
) -> Iterator[str]:
    """One line for each likely mistake in the energies."""
    if energies is None:
        return
    if unit := free_atom_unit(fitted):
        yield f"energies per element are those of free atoms in {unit}: data.units.energy={unit}?"
    if len(frames) > 2 and len({round(frame.energy or 0.0, 6) for frame in frames}) == 1:
        yield f"all structures have the same energy, {frames[0].energy} eV"
    outliers = find_outliers(energies, ENERGY_OUTLIER)
    if outliers.any():
        yield f"the energy is far from that of all others in {listed(frames, outliers)}"
    yield from likely_copies(frames, splits)


def suspicious_forces(frames: Sequence[Frame], largest: np.ndarray | None) -> Iterator[str]:
    """One line for each likely mistake in the forces. largest: [structures] eV/Å, the largest components."""
    if largest is None:
        return
    zero = (largest < ZERO_FORCE) & (np.array([len(frame) for frame in frames]) > 1)
    if zero.any():
        yield f"all forces are zero in {listed(frames, zero)}"
    large = largest > LARGE_FORCE * max(float(np.median(largest)), ZERO_FORCE)
    if large.any():
        yield f"a force is more than {LARGE_FORCE:g} times as large as usual in {listed(frames, large)}"
    net = np.array([np.abs(frame.forces.sum(0)).max() / len(frame) for frame in frames if frame.forces is not None])
    if (net > NET_FORCE).any():
        yield f"forces do not sum to zero in {listed(frames, net > NET_FORCE)}"


def isolated_atoms(coordination: np.ndarray) -> Iterator[str]:
    """A line if there are atoms without neighbours. coordination: [atoms] neighbours within the cutoff."""
    if (coordination == 0).any():
        yield f"{np.count_nonzero(coordination == 0)} atoms have no neighbour within the cutoff"


def listed(frames: Sequence[Frame], selected: np.ndarray) -> str:
    """The number of the selected structures [structures] bool, with the sources of some of them."""
    indices = np.flatnonzero(selected)
    sources = ", ".join(frames[index].source for index in indices[:MAX_NAMED])
    return f"{len(indices)} structures ({sources}{', …' if len(indices) > MAX_NAMED else ''})"


def free_atom_unit(fitted: Mapping[int, float]) -> str | None:
    """The unit, other than eV, in which the fitted energies of the elements are those of all-electron free atoms."""
    known = fitted.keys() & FREE_ATOMS.keys()
    ratio = np.median([fitted[z] / FREE_ATOMS[z] for z in known]) if known else 1.0
    return next((unit for unit, size in ENERGY.items() if unit != "eV" and abs(ratio * size - 1) < 0.1), None)


def find_outliers(values: np.ndarray, factor: float) -> np.ndarray:
    """[n] whether a value deviates from the median by more than `factor` times the median absolute deviation.

    Deviations of the size of rounding errors do not count.
    """
    deviation = np.abs(values - np.median(values))
    return deviation > max(factor * float(np.median(deviation)), 1e-6)


def likely_copies(frames: Sequence[Frame], splits: np.ndarray) -> Iterator[str]:
    """A line if structures have the same formula, energy and forces, up to their order and direction.

    They are probably rotated or renumbered copies. Without forces, more must agree than chance explains.
    """
    formulas = defaultdict(list)
    for index, frame in enumerate(frames):
        formulas[tuple(sorted(Counter(frame.numbers.tolist()).items()))].append(index)
    copies, expected = [], 0.0
    for indices in formulas.values():
        energies = np.array([frames[index].energy for index in indices], dtype=float)
        if any(frames[index].forces is None for index in indices):
            expected += coincidences(energies)
        alike = defaultdict(list)
        for index, energy in zip(indices, energies, strict=True):
            alike[round(energy / SAME_ENERGY)].append(index)
        with_forces = [[i for i in same if have_same_forces(frames[i], frames[same[0]])] for same in alike.values()]
        copies += [same for same in with_forces if len(same) > 1]
    if len(copies) > expected + DEVIATIONS * np.sqrt(expected):
        across = sum(len(set(splits[indices])) > 1 for indices in copies)
        first, second = copies[0][:2]
        yield (
            f"{len(copies)} energies occur more than once for the same formula, {across} of them in more than one "
            f"split: rotated, shifted or renumbered copies? (such as {frames[first].source} and "
            f"{frames[second].source})"
        )


def coincidences(energies: np.ndarray) -> float:
    """The expected number of pairs of energies that agree to SAME_ENERGY by chance, if their distribution is normal."""
    low, high = np.percentile(energies, [25, 75])
    deviation = max(float(high - low) / QUARTILES, SAME_ENERGY)
    return len(energies) * (len(energies) - 1) / 2 * SAME_ENERGY / (2 * np.sqrt(np.pi) * deviation)


def have_same_forces(frame: Frame, other: Frame) -> bool:
    """Whether the forces have the same lengths in ascending order; also if they are unknown."""
    if frame.forces is None or other.forces is None:
        return True
    lengths, others = (np.sort(np.linalg.norm(forces, axis=1)) for forces in (frame.forces, other.forces))
    return bool(np.abs(lengths - others).max() < SAME_FORCE)


def charged_structures(frames: Sequence[Frame]) -> Iterator[str]:
    """A line if the file states charges, which neither students nor most teachers take."""
    charged = np.array([bool(frame.charge) for frame in frames])
    if charged.any():
        yield f"a charge is stated, which neither a student nor most teachers take, in {listed(frames, charged)}"

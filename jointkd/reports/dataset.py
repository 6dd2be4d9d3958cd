"""What a data set is, for whoever is about to learn from it: a page of text and a picture."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from jointkd.data.readers.units import ENERGY
from jointkd.data.splits import shared_groups
from jointkd.data.stored_neighbors import NeighborsOf
from jointkd.reports.dataset_plots import draw
from jointkd.structures.frame import Frame, composition

log = logging.getLogger(__name__)

REFITS = 20
LOOKED_AT = 2000  # structures whose neighbours are looked at
NAMED = 3  # of suspicious entries, so many are named
FREE_ATOMS = {6: -1030, 7: -1486, 8: -2043, 9: -2715, 15: -9287, 16: -10834, 17: -12522}  # eV, all electrons
STILL = 1e-6  # eV/Å; a structure without a larger force has none
SAME_ENERGY = 1e-5  # eV; other structures of the same formula hardly ever agree so well
NET_FORCE = 0.01  # eV/Å per atom; forces of an isolated or periodic system sum to zero
OUTLIER = 12.0  # times the median deviation from the median
LARGE_FORCE = 20.0  # times the median of the structures' largest


@dataclass(frozen=True)
class Findings:
    """Numbers of all structures of all splits, in one order."""

    name: str
    cutoff: float  # Å
    splits: np.ndarray  # [structures] train, val or test
    sizes: np.ndarray  # [structures] atoms
    elements: dict[int, tuple[int, int]]  # structures and atoms of each element
    energies: np.ndarray | None  # [structures] eV/atom above a fit per element
    fitted: dict[int, float]  # eV by atomic number: that fit
    forces: np.ndarray | None  # [structures] eV/Å: root mean square of the components
    largest: np.ndarray | None  # [structures] eV/Å: the largest component
    neighbors: np.ndarray  # [atoms looked at] within the cutoff
    nearest: dict[str, np.ndarray]  # Å: distances of nearest atoms, by the pair of elements
    looked_at: int  # structures whose neighbours were
    groups: int
    shared: dict[str, float]  # see `splits.shared_groups`
    suspicious: list[str]


def write_report(
    name: str, frames: Mapping[str, Sequence[Frame]], neighbors: NeighborsOf, cutoff: float, directory: Path
) -> None:
    """Write report.txt and report.png to the directory, and log the former."""
    findings = look(name, frames, neighbors, cutoff)
    lines = "\n".join(text(findings))
    (directory / "report.txt").write_text(lines + "\n")
    draw(findings, directory / "report.png")
    log.info("%s\nwritten to %s and report.png", lines, directory / "report.txt")


def look(name: str, frames: Mapping[str, Sequence[Frame]], neighbors: NeighborsOf, cutoff: float) -> Findings:
    """Go through all structures, and the neighbours of some of them."""
    everything = [frame for part in frames.values() for frame in part]
    splits = np.array([split for split, part in frames.items() for _ in part])
    sizes = np.array([len(frame) for frame in everything])
    present = sorted({z for frame in everything for z in frame.numbers.tolist()})
    counts = composition(everything, present)
    fitted: dict[int, float] = {}
    energies = largest = forces = None
    if all(frame.energy is not None for frame in everything):
        totals = np.array([frame.energy for frame in everything], dtype=float)
        solution = fit(counts / sizes[:, None], totals / sizes)
        fitted = dict(zip(present, solution.tolist(), strict=True))
        energies = (totals - counts @ solution) / sizes
    known = [frame.forces for frame in everything if frame.forces is not None]
    if len(known) == len(everything):
        largest = np.array([np.abs(values).max() for values in known])
        forces = np.array([np.sqrt(np.mean(np.square(values))) for values in known])
    sample = everything[:: -(-len(everything) // LOOKED_AT)]
    numbers, nearest = surroundings(sample, neighbors)
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
        neighbors=numbers,
        nearest=nearest,
        looked_at=len(sample),
        groups=len({frame.group for frame in everything} - {""}),
        shared=shared_groups(frames),
        suspicious=list(suspicions(everything, splits, energies, fitted, largest, numbers)),
    )


def fit(shares: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """[elements] eV: least absolute deviations, which a few wrong energies do not move as they move least squares.

    shares [structures, elements] of the atoms; energies [structures] eV/atom.
    """
    weights = np.ones(len(energies))
    for _ in range(REFITS):
        solution = np.linalg.lstsq(shares * weights[:, None], energies * weights, rcond=None)[0]
        weights = 1 / np.sqrt(np.maximum(np.abs(energies - shares @ solution), 1e-4))
    return solution


def surroundings(frames: Sequence[Frame], neighbors: NeighborsOf) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Of each atom: how many neighbours it has, and how far the nearest is, by the pair of elements."""
    counts, nearest = [], defaultdict(list)
    for frame in frames:
        edge_index, shift, _ = neighbors(frame)
        source, target = edge_index.numpy()
        counts.append(np.bincount(target, minlength=len(frame)))
        distances = np.linalg.norm(frame.positions[source] + shift.numpy() - frame.positions[target], axis=1)
        order = np.lexsort((distances, target))
        firsts = order[np.unique(target[order], return_index=True)[1]]
        for edge in firsts.tolist():
            pair = sorted(chemical_symbols[frame.numbers[atom]] for atom in (source[edge], target[edge]))
            nearest["–".join(pair)].append(distances[edge])
    order_of_pairs = sorted(nearest, key=lambda pair: -len(nearest[pair]))
    return np.concatenate(counts), {pair: np.array(nearest[pair]) for pair in order_of_pairs}


def suspicions(
    frames: Sequence[Frame],
    splits: np.ndarray,
    energies: np.ndarray | None,
    fitted: Mapping[int, float],
    largest: np.ndarray | None,
    neighbors: np.ndarray,
) -> Iterator[str]:
    """What is more often a mistake than a fact, a line each."""

    def those(chosen: np.ndarray) -> str:
        places = np.flatnonzero(chosen)
        names = ", ".join(frames[place].source for place in places[:NAMED])
        return f"{len(places)} structures ({names}{', …' if len(places) > NAMED else ''})"

    if energies is not None:
        if unit := unit_of(fitted):
            yield f"energies per element are those of free atoms in {unit}: data.units.energy={unit}?"
        if len(frames) > 2 and len({round(frame.energy or 0.0, 6) for frame in frames}) == 1:
            yield f"all structures have the same energy, {frames[0].energy} eV"
        odd = far_from_others(energies, OUTLIER)
        if odd.any():
            yield f"the energy is far from that of all others in {those(odd)}"
        yield from repeats(frames, splits)
    if largest is not None:
        still = (largest < STILL) & (np.array([len(frame) for frame in frames]) > 1)
        if still.any():
            yield f"all forces are zero in {those(still)}"
        large = largest > LARGE_FORCE * max(float(np.median(largest)), STILL)
        if large.any():
            yield f"a force is more than {LARGE_FORCE:g} times as large as is usual in {those(large)}"
        net = np.array([np.abs(frame.forces.sum(0)).max() / len(frame) for frame in frames if frame.forces is not None])
        if (net > NET_FORCE).any():
            yield f"forces do not sum to zero in {those(net > NET_FORCE)}"
    if (neighbors == 0).any():
        yield f"{np.count_nonzero(neighbors == 0)} atoms have no neighbour within the cutoff"


def unit_of(fitted: Mapping[int, float]) -> str | None:
    """The unit, other than eV, in which energies per element would be those of free atoms with all their electrons."""
    known = fitted.keys() & FREE_ATOMS.keys()
    ratio = np.median([fitted[z] / FREE_ATOMS[z] for z in known]) if known else 1.0
    return next((unit for unit, size in ENERGY.items() if unit != "eV" and abs(ratio * size - 1) < 0.1), None)


def far_from_others(values: np.ndarray, times: float) -> np.ndarray:
    """[n] whether a value is `times` as far from the median as half of all are, and by more than rounding."""
    distance = np.abs(values - np.median(values))
    return distance > max(times * float(np.median(distance)), 1e-6)


def repeats(frames: Sequence[Frame], splits: np.ndarray) -> Iterator[str]:
    """Structures with the same formula and energy: turned, shifted or renumbered copies, most likely."""
    places = defaultdict(list)
    for place, frame in enumerate(frames):
        formula = tuple(sorted(Counter(frame.numbers.tolist()).items()))
        places[formula, round((frame.energy or 0.0) / SAME_ENERGY)].append(place)
    same = [found for found in places.values() if len(found) > 1]
    if same:
        across = sum(len(set(splits[found])) > 1 for found in same)
        first, second = same[0][:2]
        yield (
            f"{len(same)} energies occur more than once for the same formula, {across} of them in more than one split: "
            f"copies that were turned, shifted or renumbered? (such as {frames[first].source} and "
            f"{frames[second].source})"
        )


def text(findings: Findings) -> Iterator[str]:
    """The report, line by line."""
    sizes = Counter(findings.splits.tolist())
    yield f"{findings.name}: {len(findings.sizes)} structures, {findings.sizes.sum()} atoms"
    yield "  split             " + ", ".join(f"{sizes[split]} {split}" for split in ("train", "val", "test"))
    yield "  groups            " + groups(findings)
    yield f"  atoms             {spread(findings.sizes, '.0f')} per structure"
    yield "  elements          " + ", ".join(
        f"{chemical_symbols[z]} {100 * atoms / findings.sizes.sum():.3g} % (in {structures})"
        for z, (structures, atoms) in findings.elements.items()
    )
    if findings.energies is None:
        yield "  energies          none"
    else:
        yield f"  energies          {spread(findings.energies, '.3f')} eV/atom above a fit per element"
        yield "    that fit        " + ", ".join(f"{chemical_symbols[z]} {e:.3f}" for z, e in findings.fitted.items())
    if findings.forces is None or findings.largest is None:
        yield "  forces            none"
    else:
        yield f"  forces            {spread(findings.forces, '.3f')} eV/Å, root mean square per structure"
        yield f"    largest         {spread(findings.largest, '.3f')} eV/Å"
    yield f"  neighbours        {spread(findings.neighbors, '.0f')} per atom within {findings.cutoff:g} Å"
    yield "  nearest atoms     " + ", ".join(
        f"{pair} {distances.min():.2f}–{distances.max():.2f} Å"
        for pair, distances in list(findings.nearest.items())[:8]
    )
    if findings.looked_at < len(findings.sizes):
        yield f"    (neighbours and nearest atoms of {findings.looked_at} structures)"
    yield "  suspicious" + (":" if findings.suspicious else "        nothing")
    for line in findings.suspicious:
        yield f"    - {line}"


def groups(findings: Findings) -> str:
    if not findings.groups:
        return "none are named (data.group_key)"
    leaks = [f"{100 * share:.0f} % of those of {split} also in train" for split, share in findings.shared.items()]
    return f"{findings.groups}; " + ", ".join(leaks)


def spread(values: np.ndarray, how: str) -> str:
    """Least, middle and largest of some values."""
    low, middle, high = (format(value, how) for value in (values.min(), np.median(values), values.max()))
    return f"{low} to {high}, median {middle}"

"""Structures on a GPU: neighbours are found once for many steps, and a step is one CUDA graph."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from vesin import NeighborList

from jointkd.deploy.evaluator import Results
from jointkd.deploy.pair_form import PairForm
from jointkd.deploy.systems import Systems
from jointkd.errors import DataError
from jointkd.replay import Pool, Replay
from jointkd.structures.cells import cell_fault
from jointkd.structures.neighbors import find_pairs

SKIN = 0.5  # Å; a search takes less time than a step, and pairs within the skin are computed
EARLY = 0.7  # of the way that makes a search necessary: structures that have moved so far are searched with the others
SPARE = 1.1  # how many times the pairs of a search have room
LARGE = 500  # atoms of a structure from which on its neighbours are found faster on a GPU


class State(NamedTuple):
    """What stays the same from step to step: the atoms, their lattices, and where they were at the last search."""

    numbers: Tensor  # [N] int64
    structure: Tensor  # [N] int64
    lattices: Tensor  # [B, 3, 3] Å, float64; zeros where a structure is not periodic
    inverses: Tensor  # [B, 3, 3] 1/Å
    positions: Tensor  # [N, 3] Å, float64
    source: Tensor  # [P] int64
    target: Tensor  # [P] int64
    shifts: Tensor  # [P, 3] Å, float64


Pairs = tuple[Tensor, Tensor, Tensor]  # source [P], target [P] and shifts [P, 3] Å


class GraphedSystems:
    """Evaluates structures together, for students for whose form a pair beyond the cutoff changes nothing.

    All pairs within the cutoff and the skin are computed in every step, so that no size depends on positions; the list
    has room for more, which is filled with pairs of an atom and an image of itself beyond the cutoff. After a step it
    is known which structures had moved too far, and if any had, the step is repeated with new lists of these.
    """

    def __init__(self, form: PairForm, cutoff: float, device: str, dtype: torch.dtype) -> None:
        self.form, self.cutoff, self.device, self.dtype = form, cutoff, device, dtype
        self.searches = 0
        self.lost: dict[int, DataError] = {}  # why the neighbours of a structure cannot be found; it then has none
        self._search = NeighborList(cutoff=cutoff + SKIN, full_list=False)
        self._pool = Pool()
        self._systems: Systems | None = None
        self._fixed: tuple[Tensor, ...] = ()  # of a state: numbers, structure, lattices and inverses
        self._positions = np.empty((0, 3))  # at the last search of each structure
        self._pairs: list[Pairs] = []
        self._no_pairs = self._given(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty((0, 3)))
        self._state: State | None = None
        self._replay: Replay | None = None

    def __call__(self, systems: Systems, positions: np.ndarray) -> Results:
        """positions [N, 3] Å; the virial is that of all structures. See also `lost`.

        What depends on positions that are not finite is not finite either.
        """
        places = np.array(positions, dtype=np.float64)
        if self._systems is None or not all(map(np.array_equal, systems, self._systems)):
            self._take(Systems(*map(np.array, systems)), places)
        outputs, moved = self._step(places)
        if (moved > 1).any():
            self._find(np.flatnonzero(moved > EARLY), places)
            outputs, moved = self._step(places)
        atoms = len(places)
        energies, forces, virial, uncertainty = np.split(outputs, [atoms, 4 * atoms, 4 * atoms + 9])
        own = uncertainty if uncertainty.size else None
        return Results(energies, forces.reshape(atoms, 3), virial.reshape(3, 3), own)

    def forget(self) -> None:
        """Search all neighbours anew at the next call, so that its results depend on the positions alone."""
        self._systems = None

    def _step(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies [N], forces [N · 3], virial [9], uncertainties [N]; [B] ways moved, as parts of the longest.

        A structure whose positions are not finite has not moved: it has no neighbours to be found.
        """
        assert self._replay is not None
        assert self._systems is not None
        found = self._replay([torch.from_numpy(places).to(self.device)])[0].cpu().numpy()
        outputs, squares = np.split(found, [len(found) - len(places)])
        ways = 2 / SKIN * np.sqrt(np.maximum.reduceat(squares, self._systems.first[:-1]))
        return outputs, np.nan_to_num(ways, nan=0.0, posinf=np.inf)

    def _take(self, systems: Systems, places: np.ndarray) -> None:
        """Go on with these structures."""
        count = len(systems.cells)
        lattices = np.where(systems.pbc[:, :, None], systems.cells, 0.0)
        structure = np.repeat(np.arange(count), np.diff(systems.first))
        fixed = (systems.numbers, structure, lattices, np.linalg.pinv(lattices))
        self._fixed = tuple(torch.from_numpy(array).to(self.device) for array in fixed)
        self._systems, self._positions, self._pairs = systems, np.zeros_like(places), [self._no_pairs] * count
        self._find(range(count), places)

    def _find(self, which: Iterable[int], places: np.ndarray) -> None:
        """Find the neighbours of some structures, and record the step anew where the list has no room for them."""
        assert self._systems is not None
        first = self._systems.first
        for number in which:
            atoms = slice(first[number], first[number + 1])
            self.searches += 1
            self.lost.pop(int(number), None)
            try:
                self._pairs[number] = self._found(number, places[atoms])
            except DataError as error:
                self.lost[int(number)] = error
                self._pairs[number] = self._no_pairs
            self._positions[atoms] = np.nan_to_num(places[atoms], posinf=0.0, neginf=0.0)
        self._fill()

    def _found(self, number: int, places: np.ndarray) -> Pairs:
        """A vector is source + shift - target; atoms are counted through all structures. Raises DataError."""
        assert self._systems is not None
        reach, (_, first, cells, pbc) = self.cutoff + SKIN, self._systems
        if len(places) < LARGE:
            found = find_pairs(places, cells[number], pbc[number], reach)
            (target, source), images = found.atoms.T, found.images
            shifts = images @ cells[number] if len(images) else np.zeros((len(source), 3))
            return self._given(source + first[number], target + first[number], shifts)
        if fault := cell_fault(places, cells[number], pbc[number], reach):
            raise DataError(f"the neighbours of a structure cannot be found: {fault}", "correct its cell and positions")
        lattice, periodic = self._fixed[2][number], torch.from_numpy(pbc[number]).to(self.device)
        found = self._search.compute(torch.from_numpy(places).to(self.device), lattice, periodic, "ijS")
        target, source = (atoms.view(torch.int64) + first[number] for atoms in found[:2])
        return source, target, found[2].to(lattice.dtype) @ lattice

    def _given(self, source: np.ndarray, target: np.ndarray, shifts: np.ndarray) -> Pairs:
        ends = torch.from_numpy(np.stack([source, target])).to(self.device)
        return ends[0], ends[1], torch.from_numpy(shifts).to(self.device)

    def _fill(self) -> None:
        """Bring what was found to where the recorded step reads it."""
        positions = torch.from_numpy(self._positions).to(self.device)
        found = State._make((*self._fixed, positions, *map(torch.cat, zip(*self._pairs, strict=True))))
        before = self._state
        alike = before is not None and all(a.shape == b.shape for a, b in zip(before[:5], found[:5], strict=True))
        if before is not None and alike and len(found.source) <= len(before.source):
            for old, new in zip(before, padded(found, len(before.source), 2 * self.cutoff), strict=True):
                old.copy_(new)
            return
        state = padded(found, int(SPARE * len(found.source)) + 1, 2 * self.cutoff)
        self._state = State(*(tensor.clone() for tensor in state))
        self._replay = Replay(self._function, list(self._state), [positions], self._pool)

    def _function(self, *tensors: Tensor) -> list[Tensor]:
        state, positions = State(*tensors[:-1]), tensors[-1]
        moved = positions - state.positions
        turns = torch.round(times(moved, state.inverses.index_select(0, state.structure)))
        moved = moved - times(turns, state.lattices.index_select(0, state.structure))
        places = state.positions + moved
        vectors = places.index_select(0, state.source) - places.index_select(0, state.target) + state.shifts
        outputs = self.form(vectors.to(self.dtype), state.source, state.target, state.numbers)
        flat = [output.double().flatten() for output in outputs if output is not None]
        return [torch.cat([*flat, moved.square().sum(1)])]


def times(rows: Tensor, matrices: Tensor) -> Tensor:
    """The product of each row [N, 3] with a matrix of its own [N, 3, 3]."""
    return (rows[:, :, None] * matrices).sum(1)


def padded(state: State, pairs: int, distance: float) -> State:
    """A state whose list has so many pairs. distance: Å, between an atom and its image in the pairs that are added."""
    more = pairs - len(state.source)
    ends = torch.arange(more, device=state.source.device) % len(state.numbers)
    far = state.shifts.new_zeros(more, 3)
    far[:, 0] = distance
    source, target = (torch.cat([atoms, ends]) for atoms in (state.source, state.target))
    return state._replace(source=source, target=target, shifts=torch.cat([state.shifts, far]))

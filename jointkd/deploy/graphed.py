"""The evaluator of a GPU: neighbours are found there, and a step is one CUDA graph, from positions to forces."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from vesin import NeighborList

from jointkd.deploy.evaluator import Results
from jointkd.deploy.pair_form import PairForm
from jointkd.errors import DataError
from jointkd.replay import Pool, Replay
from jointkd.structures.cells import cell_fault

SKIN = 0.5  # Å; a search takes less time than a step, and pairs within the skin are computed
SPARE = 1.1  # how many times the pairs of a search have room


class System(NamedTuple):
    """What stays the same from step to step: the atoms, their lattice, and where they were at the last search."""

    numbers: Tensor  # [N] int64
    positions: Tensor  # [N, 3] Å, float64
    lattice: Tensor  # [3, 3] Å, float64; zeros where it is not periodic
    inverse: Tensor  # [3, 3] 1/Å
    source: Tensor  # [P] int64
    target: Tensor  # [P] int64
    shifts: Tensor  # [P, 3] Å, float64


class GraphedEvaluator:
    """As `Evaluator`, for students for whose form a pair beyond the cutoff changes nothing.

    All pairs within the cutoff and the skin are computed in every step, so that no size depends on positions; the list
    has room for more, which is filled with pairs of an atom and an image of itself beyond the cutoff. After a step it
    is known whether an atom had moved too far, and if so the step is repeated with a new list.
    """

    def __init__(self, form: PairForm, cutoff: float, device: str, dtype: torch.dtype) -> None:
        self.form, self.cutoff, self.device, self.dtype = form, cutoff, device, dtype
        self.searches = 0
        self._search = NeighborList(cutoff=cutoff + SKIN, full_list=False)
        self._pool = Pool()
        self._given: tuple[np.ndarray, ...] = ()
        self._system: System | None = None
        self._replay: Replay | None = None

    def __call__(self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> Results:
        """numbers [N]; positions [N, 3] Å; cell [3, 3] Å; pbc [3]. Raises DataError for a cell that is not sound."""
        places = torch.from_numpy(np.array(positions, dtype=np.float64)).to(self.device)
        now = tuple(map(np.array, (numbers, cell, pbc)))
        if self._system is None or not all(map(np.array_equal, now, self._given)):
            self._given = now
            self._renew(places)
        outputs = self._step(places)
        if 4 * outputs[-1] > SKIN**2:
            self._renew(places)
            outputs = self._step(places)
        atoms = len(numbers)
        energies, forces, virial, uncertainty = np.split(outputs[:-1], [atoms, 4 * atoms, 4 * atoms + 9])
        own = uncertainty if uncertainty.size else None
        return Results(energies, forces.reshape(atoms, 3), virial.reshape(3, 3), own)

    def _step(self, positions: Tensor) -> np.ndarray:
        """Energies [N], forces [N · 3], virial [9], uncertainties [N] and the largest square of a displacement."""
        assert self._replay is not None
        return self._replay([positions])[0].cpu().numpy()

    def _renew(self, positions: Tensor) -> None:
        """Find the neighbours anew, and record the step anew where the list has no room for them."""
        numbers, cell, pbc = self._given
        if fault := cell_fault(positions.cpu().numpy(), cell, pbc, self.cutoff + SKIN):
            raise DataError(f"the neighbours of a structure cannot be found: {fault}", "correct its cell and positions")
        lattice = np.where(pbc[:, None], cell, 0.0)
        own = [torch.from_numpy(array).to(self.device) for array in (numbers, lattice, np.linalg.pinv(lattice))]
        source, target, shifts = self._pairs(positions, own[1], pbc)
        found = System(own[0], positions, own[1], own[2], source, target, shifts)
        before, self.searches = self._system, self.searches + 1
        if before is not None and len(before.numbers) == len(numbers) and len(source) <= len(before.source):
            for old, new in zip(before, padded(found, len(before.source), 2 * self.cutoff), strict=True):
                old.copy_(new)
            return
        self._system = padded(found, int(SPARE * len(source)) + 1, 2 * self.cutoff)
        self._system = System(*(tensor.clone() for tensor in self._system))
        self._replay = Replay(self._function, list(self._system), [positions], self._pool)

    def _pairs(self, positions: Tensor, lattice: Tensor, pbc: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Source [P], target [P] and shifts [P, 3] Å of each pair once; a vector is source + shift - target."""
        periodic = torch.from_numpy(pbc).to(self.device)
        first, second, images = self._search.compute(positions, lattice, periodic, "ijS")
        first, second = (atoms.view(torch.int64) for atoms in (first, second))
        return second, first, images.to(lattice.dtype) @ lattice

    def _function(self, *tensors: Tensor) -> list[Tensor]:
        system, positions = System(*tensors[:-1]), tensors[-1]
        moved = positions - system.positions
        moved = moved - torch.round(moved @ system.inverse) @ system.lattice
        places = system.positions + moved
        vectors = places.index_select(0, system.source) - places.index_select(0, system.target) + system.shifts
        outputs = self.form(vectors.to(self.dtype), system.source, system.target, system.numbers)
        flat = [output.double().flatten() for output in outputs if output is not None]
        return [torch.cat([*flat, moved.square().sum(1).amax(0)[None]])]


def padded(system: System, pairs: int, distance: float) -> System:
    """A system whose list has so many pairs. distance: Å, between an atom and its image in the pairs that are added."""
    more = pairs - len(system.source)
    ends = torch.arange(more, device=system.source.device) % len(system.numbers)
    far = system.shifts.new_zeros(more, 3)
    far[:, 0] = distance
    source, target = (torch.cat([atoms, ends]) for atoms in (system.source, system.target))
    return system._replace(source=source, target=target, shifts=torch.cat([system.shifts, far]))

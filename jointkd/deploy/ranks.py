"""A student on several MPI ranks: each computes the energies of its own atoms, and forces are summed over the ranks.

Every rank is given the positions of all atoms in every step and takes those on which the energies of its own depend. So
nothing has to fit: where these are all atoms, as in a box that is small beside hops × cutoff, results are right and
no time is saved.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jointkd.deploy.evaluator import Results
from jointkd.deploy.force_field import ForceField
from jointkd.deploy.part import PartEvaluator
from jointkd.errors import DataError, first_line
from jointkd.trust import Consent

log = logging.getLogger(__name__)

MOST = 0.9  # of all atoms: a rank that computes more saves hardly any time


@contextmanager
def together(comm: Any, failure: BaseException | None = None) -> Iterator[None]:
    """Raise on all ranks of an MPI communicator what fails on one; where it did not fail, a DataError that names it.

    failure: what has failed on this rank before.
    """
    try:
        yield
    except BaseException as error:
        failure = failure or error
    failures = comm.allgather(None if failure is None else first_line(failure))
    if failure is not None:
        raise failure
    for rank, line in enumerate(failures):
        if line is not None:
            raise DataError(f"MPI rank {rank} stopped: {line}", "see the message of that rank")


class RanksForceField(ForceField):
    """As `ForceField`, whose atoms are divided among the ranks of `comm`, a communicator of mpi4py.

    failure: what ends the next step on all ranks. Raises on all ranks what is raised on one; see `together`.
    """

    def __init__(self, comm: Any, student: str | Path, device: str | None, dtype: str | None, trust: Consent) -> None:
        self.comm = comm
        self.failure: BaseException | None = None
        self.told = False  # whether the user knows what the ranks save
        with together(comm):
            super().__init__(student, device, dtype, trust)
            self.part = PartEvaluator(self.model)

    def __call__(self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> Results:
        """Energies of, forces on and uncertainties of the n atoms of this rank, and the virial of all atoms.

        numbers [n]; positions [n, 3] Å; cell [3, 3] Å; pbc [3]. All ranks must call it.
        """
        pieces = self.comm.allgather(np.column_stack([positions, numbers]))
        everyone, ranks = np.concatenate(pieces), np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
        all_numbers, all_positions = everyone[:, 3].astype(np.int64), everyone[:, :3]
        with together(self.comm, self.failure):
            self.check(all_numbers, all_positions)
            found = self.part.of_part(all_numbers, all_positions, cell, pbc, ranks == self.comm.rank)
            if self.comm.rank == 0:
                self.zero.check(all_numbers)
        self.tell(len(everyone))
        forces = np.empty((len(numbers), 3))
        self.comm.Reduce_scatter(found.forces, forces, [3 * len(piece) for piece in pieces])
        energies = found.atomic_energies + [self.references.get(z, 0.0) for z in numbers.tolist()]
        return found._replace(atomic_energies=energies, forces=forces, virial=self.comm.allreduce(found.virial))

    def tell(self, atoms: int) -> None:
        """Warn once where a rank computes most of the atoms. atoms: of all ranks."""
        if self.told:
            return
        self.told = True
        most = max(self.comm.allgather(self.part.computed))
        if most > MOST * atoms and self.comm.rank == 0:
            reach = self.part.hops * self.model.cutoff
            log.warning(
                "%d MPI ranks save hardly any time: one of them computes %d of the %d atoms, because an atom's energy "
                "depends on others as far as %g Å; start one rank, or take a box that is longer than %g Å",
                *(self.comm.size, most, atoms, reach, 4 * reach),
            )

    def total(self, energies: np.ndarray) -> float:
        """The sum of the energies (eV) of all atoms. energies: of those of this rank."""
        return self.comm.allreduce(float(energies.sum()))

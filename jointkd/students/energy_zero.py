"""Where total energies of a student are estimates: compositions that its training structures did not determine."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from ase.symbols import Symbols

log = logging.getLogger(__name__)

SMALL_SHARE = 0.05  # of a composition along an undetermined combination of elements; training structures have less


class EnergyZero:
    """Warns once for each composition whose total energy is an estimate. undetermined: see `SavedStudent`."""

    def __init__(self, undetermined: Sequence[Mapping[int, float]]) -> None:
        self.undetermined = undetermined
        self.seen: set[str] = set()
        self.latest = b""  # the numbers last checked; those of molecular dynamics do not change

    def holds_for(self, numbers: np.ndarray) -> bool:
        """Whether the training structures determined the total energy of this composition. numbers: [N]."""
        elements, counts = np.unique(numbers, return_counts=True)
        shares = counts / np.linalg.norm(counts)
        along = (
            sum(direction.get(z, 0.0) * share for z, share in zip(elements.tolist(), shares.tolist(), strict=True))
            for direction in self.undetermined
        )
        return all(abs(share) < SMALL_SHARE for share in along)

    def check(self, numbers: np.ndarray) -> None:
        """Log a warning where a composition is met for the first time and its total energy is an estimate."""
        if not self.undetermined or self.latest == numbers.tobytes():
            return
        self.latest = numbers.tobytes()
        if self.holds_for(numbers):
            return
        formula = Symbols(numbers).get_chemical_formula()
        if formula not in self.seen:
            self.seen.add(formula)
            log.warning(
                "%s: the structures that this student was trained on do not determine energies of such compositions: "
                "its total energy may be off by eV per atom, differences between structures of this formula are not",
                formula,
            )

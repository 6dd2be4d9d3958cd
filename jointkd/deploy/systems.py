"""Several structures at once, apart from the positions of their atoms."""

from typing import NamedTuple

import numpy as np


class Systems(NamedTuple):
    """B structures of N atoms in all."""

    numbers: np.ndarray  # [N]
    first: np.ndarray  # [B + 1] the first atom of each structure, and N
    cells: np.ndarray  # [B, 3, 3] Å
    pbc: np.ndarray  # [B, 3]

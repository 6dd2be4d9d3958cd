"""What a student was trained on, in the words of its model card."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase.symbols import Symbols

from jointkd.data.datamodule import DistillationData
from jointkd.structures.columns import composition, elements_of, numbers_of
from jointkd.structures.frame import Frame

MOST_FORMULAS = 8


def trained_on(data: DistillationData) -> dict[str, Any]:
    """Numbers of structures by split, the contents of the training split, and where reference values come from.

    from_teacher: how many training structures have the teacher's energies and forces, for want of reference labels.
    """
    return {
        "structures": {split: len(frames) for split, frames in data.frames.items()},
        "contents": contents(data.frames["train"]),
        "reference": data.reference,
        "from_teacher": data.from_teacher,
        "energy_zero": data.references.origin if data.references else None,
    }


def contents(frames: Sequence[Frame]) -> str:
    """Sizes and formulas of structures, the most frequent formulas first."""
    elements, sizes = elements_of(frames), numbers_of(frames)[1]
    kinds, counts = np.unique(composition(frames, elements).astype(int), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_FORMULAS]
    formulas = [f"{formula(elements, kinds[kind])} ({counts[kind]})" for kind in order]
    more = ["…"] if len(kinds) > MOST_FORMULAS else []
    atoms = f"{sizes.min()} to {sizes.max()} atoms" if sizes.min() < sizes.max() else f"{sizes.min()} atoms"
    return f"{atoms}, {len(kinds)} compositions: {', '.join(formulas + more)}"


def formula(elements: Sequence[int], counts: np.ndarray) -> str:
    """The formula of a composition."""
    return str(Symbols(np.repeat(elements, counts)).get_chemical_formula())

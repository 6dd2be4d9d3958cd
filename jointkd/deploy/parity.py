"""Whether an exported student gives what the student itself gives: small structures of every kind."""

import copy
import itertools
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from jointkd.deploy.model import Model
from jointkd.deploy.pair_form import EagerForm, Inputs, PairForm
from jointkd.deploy.skin import SkinNeighbors
from jointkd.errors import ConfigError

log = logging.getLogger(__name__)

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}  # of the largest value
ROUNDING = 4  # times that of the student itself, which counts where sums of large terms cancel
RESULTS = (slice(0, 3), slice(3, 4))  # energies, forces and virial; uncertainties, which may be far larger there
SPACING = 1.9  # Å
SIZES = {  # atoms along each axis, and whether the structure is periodic
    "one atom": ((1, 1, 1), False),
    "two atoms": ((2, 1, 1), False),
    "a molecule": ((3, 3, 2), False),
    "a cell of one atom": ((1, 1, 1), True),
    "a crystal": ((4, 3, 3), True),
}


def deviation(form: PairForm, reference: PairForm, inputs: Inputs, results: slice) -> float:
    """The largest difference of some results of two forms, over the largest value that is finite, or over 1.

    reference: in float64. 0 for results that the form does not have.
    """
    vectors, *others = inputs
    found, expected = (given[results] for given in (form(*inputs), reference(vectors.double(), *others)))
    pairs = [(ours, theirs) for ours, theirs in zip(found, expected, strict=False) if ours is not None]
    if not pairs:
        return 0.0
    differences = [(ours - theirs).where(ours != theirs, 0).abs().max() for ours, theirs in pairs]  # inf may equal inf
    largest = max(1.0, *(float(theirs.where(theirs.isfinite(), 0).abs().max()) for _, theirs in pairs))
    return float(torch.stack(differences).max()) / largest


def structures(elements: list[int], cutoff: float, device: str, dtype: torch.dtype) -> Iterator[tuple[str, Inputs]]:
    """Names and inputs of lattices of random elements with random displacements, and of atoms without neighbours."""
    rng = np.random.default_rng(0)
    for name, (size, periodic) in SIZES.items():
        positions = SPACING * np.array(list(np.ndindex(*size))) + rng.normal(scale=0.1, size=(np.prod(size), 3))
        cell, pbc = SPACING * np.diag(size).astype(float), np.full(3, periodic)
        pairs = SkinNeighbors(cutoff, 0.0).pairs(positions, cell, pbc)
        numbers = rng.choice(elements, len(positions))
        vectors = torch.from_numpy(pairs.vectors).to(device, dtype)
        source, target, kinds = (torch.from_numpy(index).to(device) for index in (pairs.source, pairs.target, numbers))
        yield name, (vectors, source, target, kinds)
        if name == "two atoms":
            yield "two atoms without neighbours", (vectors[:0], source[:0], target[:0], kinds)


def compare(model: Model, form: PairForm) -> None:
    """Compare another form of a model's student with the student in float64. Raises ConfigError where they differ."""
    student: Any = copy.deepcopy(model.student)
    own_uncertainty = model.saved.uncertainty
    exact = None if own_uncertainty is None else own_uncertainty.on(model.device, torch.float64)
    reference, largest = EagerForm(student.double(), exact), 0.0
    every = structures(elements_of(model), model.cutoff, model.device, model.dtype)
    for (name, inputs), results in itertools.product(every, RESULTS):
        found, own = (deviation(each, reference, inputs, results) for each in (form, model.form))
        if not found <= max(TOLERANCE[model.dtype], ROUNDING * own):
            raise ConfigError(
                f"the exported student differs by {found:.1e} of the largest value for {name}, itself by {own:.1e}",
                "use the student's file as it is, or export it with dtype=float64",
            )
        largest = max(largest, found)
    log.info("all results equal the student's in float64 to %.1g of the largest value", largest)


def elements_of(model: Model) -> list[int]:
    """The atomic numbers that the model is compared with."""
    return sorted(model.saved.reference_energies) or list(range(1, model.elements + 1))

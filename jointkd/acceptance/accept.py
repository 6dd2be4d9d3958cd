"""Grades a student by all gates, and writes what came of it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from jointkd.acceptance import crystals
from jointkd.acceptance.conservation import Conservation, conservation
from jointkd.acceptance.consistency import consistency
from jointkd.acceptance.crystals import Crystal, crystals_of, in_a_crystal
from jointkd.acceptance.dimers import Dimers, dimers
from jointkd.acceptance.gate import Gate
from jointkd.acceptance.options import AcceptanceOptions
from jointkd.acceptance.stability import NUMBER, Trajectories, stability
from jointkd.acceptance.teacher import AgainstTeacher, against_teacher, unavailable
from jointkd.deploy.ase import JointKD
from jointkd.deploy.model import load_model
from jointkd.simulation.dynamics import known_lengths
from jointkd.teachers.base import Teacher
from jointkd.trust import Consent

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Graded:
    """The outcome of all gates, and what it was measured from."""

    gates: list[Gate]
    trajectories: list[Trajectories]
    conservation: Conservation
    dimers: Dimers
    teacher: AgainstTeacher | None
    crystal: Crystal | None

    @property
    def passed(self) -> bool:
        """Whether all gates are passed."""
        return all(gate.passed for gate in self.gates)


def grade(
    student: Path,
    structures: Sequence[Atoms],
    options: AcceptanceOptions,
    teacher: Teacher | str | None,
    trust: Consent = None,
) -> Graded:
    """Measure a student. teacher: None leaves its gates out; a text says why it is not here, and its gates fail.

    Each gate is logged as it is measured. Raises DataError for structures that the student cannot evaluate.
    """
    model, precise = (load_model(student, options.device, dtype, trust) for dtype in ("float32", "float64"))
    lengths, gates = known_lengths(str(student), model.saved.origin), Said()
    few = chosen(structures, options)
    gates.take(consistency(precise, few, options.consistency, options.seed))
    elements = sorted(model.saved.reference_energies) or sorted({z for atoms in few for z in atoms.numbers.tolist()})
    pairs = dimers(precise, elements, options.dimers)
    gates.take([pairs.gate])
    conserved = conservation(model, few, options.conservation, options.seed)
    gates.take(conserved.gates)
    trajectories = stability(model, few, lengths, options.stability, options.seed)
    gates.take([each.gate for each in trajectories])
    compared = measured = None
    solid = crystals_of(few, options.crystal.most_atoms)
    if isinstance(teacher, str):
        gates.take(unavailable(options.against_teacher, teacher, few))
        gates.take(crystals.unavailable(options.crystal, teacher) if solid else [])
    elif teacher is not None:
        single, double = (JointKD(student, options.device, dtype, trust) for dtype in ("float32", "float64"))
        visited = [atoms for each in trajectories for atoms in each.visited]
        compared = against_teacher(single, double, teacher, few, visited, options.against_teacher, options.seed)
        gates.take(compared.gates)
        if solid and options.crystal.properties:
            measured = in_a_crystal(double, teacher, solid, options.crystal)
            gates.take(measured.gates)
    return Graded(gates.all, trajectories, conserved, pairs, compared, measured)


def chosen(structures: Sequence[Atoms], options: AcceptanceOptions) -> list[Atoms]:
    """As many of the structures, drawn at random, as are ever used at once."""
    most = max(options.stability.replicas, options.conservation.replicas, options.consistency.structures)
    drawn = np.random.default_rng(options.seed).permutation(len(structures))[:most].tolist()
    few = [structures[number].copy() for number in drawn]
    for number, atoms in zip(drawn, few, strict=True):
        atoms.info.setdefault(NUMBER, number)
    return few


class Said:
    """Gates, each logged as it is measured."""

    def __init__(self) -> None:
        self.all: list[Gate] = []

    def take(self, gates: Sequence[Gate]) -> None:
        """Add some, and log them."""
        for gate in gates:
            log.info("%s", gate)
        self.all += gates


def as_json(graded: Graded, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The result as plain values. facts: what else it says of the student and of the options."""
    gates = [
        {
            "name": gate.name,
            "passed": gate.passed,
            "value": gate.value,
            "threshold": gate.threshold,
            "unit": gate.unit,
            "detail": gate.detail,
        }
        for gate in graded.gates
    ]
    return {"passed": graded.passed, "gates": gates, **facts}

"""Export a student to a file that runs without its Python code, with a model card."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig

from jointkd.commands.build import plain
from jointkd.commands.run_record import RunRecord
from jointkd.commands.run_sources import data_of, found, opened, prepared_below
from jointkd.deploy.ase import JointKD
from jointkd.deploy.card_facts import facts_of, recorded_beside
from jointkd.deploy.export import NO_PACKAGE, card_of, export, require_new
from jointkd.deploy.model_card import CardFacts, Drift, card_text
from jointkd.deploy.package import read_description
from jointkd.errors import UserError, first_line
from jointkd.files.atomic import file_sha256, storage_errors, write_whole
from jointkd.simulation.drift import STEPS, TIMESTEP, energy_drift
from jointkd.structures.frame import Frame
from jointkd.students.base import Student
from jointkd.students.student_file import load_student, locate_student
from jointkd.trust import Consent

log = logging.getLogger(__name__)


def run(config: DictConfig) -> None:
    """Write the package of the student, unless to=none, and a model card."""
    options = plain(config)
    source = locate_student(Path(options["run"]))
    if options["to"] != NO_PACKAGE:
        package = export(**options)
        write_card(of_package(student_facts(source, options["trust"]), package), card_of(package))
        return
    card = Path(options["output"] or source.with_suffix(".md"))
    require_new(card)
    write_card(student_facts(source, options["trust"]), card)


def student_facts(source: Path, trust: Consent) -> CardFacts:
    """The facts of a student; how the energy drifts is measured where forces are direct and a structure is at hand."""
    module, saved = load_student(source, trust)
    summary, acceptance = recorded_beside(source, saved)
    origin = {"student": f"{source.name}, SHA-256 {file_sha256(source)}"}
    facts = facts_of(saved, cast(Student, module), summary, acceptance, origin)
    if facts.conservative:
        return facts
    drift = drift_of(source, trust) if summary else None
    measured = "not measured" if drift is None else f"{drift.rate:.3g} meV/atom/ps ({drift.structure})"
    log.warning("the student's forces are not the gradient of its energy: the total energy drifts, %s", measured)
    return replace(facts, drift=drift)


def drift_of(source: Path, trust: Consent) -> Drift | None:
    """How the total energy drifts from a test structure of the student's run, None where that is not at hand."""
    try:
        frame = test_structure(RunRecord.read(source.parent), trust)
        if frame is None:
            return None
        log.info("measuring the drift of the total energy: %d steps of %g fs", STEPS, TIMESTEP)
        atoms = frame.to_ase()
        atoms.calc = JointKD(source, trust=trust)
        return energy_drift(atoms)
    except UserError as error:
        log.info("the drift of the total energy cannot be measured: %s", first_line(error))
        return None


def test_structure(record: RunRecord, trust: Any) -> Frame | None:
    """A structure of the run's test split from its prepared set, None where that is not here."""
    keys, data = record.keys["test"][:1], data_of(record, {}, trust)
    place = found(record, record.part("data").get("prepared"))
    for candidate in prepared_below(Path(place), data.name) if place else ():
        prepared = opened(candidate, data, keys)
        if prepared is not None:
            return prepared.frames.at([prepared.keys.index(keys[0])])[0]
    return None


def of_package(facts: CardFacts, package: Path) -> CardFacts:
    """The facts of a student's package."""
    made = read_description(package)
    bound = f"{made.form}, {made.dtype}; for torch {made.torch} on {made.device} ({made.processor}) alone"
    return replace(facts, package={"package": bound})


def write_card(facts: CardFacts, file: Path) -> None:
    """Write a model card into a new file."""
    with storage_errors(file, "output"):
        write_whole(file, card_text(facts).encode())
    log.info("model card written to %s", file)

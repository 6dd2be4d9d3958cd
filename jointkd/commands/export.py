"""Export a student to a file that runs without its Python code, with a model card, and push it to the hub."""

import logging
from collections.abc import Sequence
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
from jointkd.deploy.model_card import UNKNOWN, CardFacts, Drift, card_text, front_matter
from jointkd.deploy.package import is_package, read_description
from jointkd.errors import ConfigError, UserError, first_line
from jointkd.files.atomic import file_sha256, storage_errors, write_whole
from jointkd.files.hub import HubAddress, check_repository, push
from jointkd.files.run_files import STUDENT
from jointkd.simulation.drift import STEPS, TIMESTEP, energy_drift
from jointkd.structures.frame import Frame
from jointkd.students.base import Student
from jointkd.students.student_file import load_student, locate_student
from jointkd.trust import Consent

log = logging.getLogger(__name__)


def run(config: DictConfig) -> None:
    """Write the package of the student, unless to=none, and a model card; push them to the hub where that is named."""
    options = plain(config)
    options["run"] = str(options["run"])  # a name may be a number
    hub, private, licence = (options.pop(name) for name in ("hub", "private", "licence"))
    if hub is not None:
        check_repository(hub)
    if HubAddress.of(options["run"]) and options["output"] is None:
        raise ConfigError(
            f"output is not set, and run={options['run']} has no folder here", "name a file with output=…"
        )
    source = locate_student(Path(options["run"]))
    package = None if options["to"] == NO_PACKAGE else export(**options)
    facts = replace(student_facts(source, options["trust"]), licence=licence)
    written = [] if package is None else [package, card_of(package)]
    if package is not None:
        write_card(of_package(facts, package), card_of(package))
    elif hub is None or options["output"]:
        card = Path(options["output"] or source.with_suffix(".md"))
        require_new(card)
        write_card(facts, card)
    if hub is not None:
        publish(source, facts, written, hub, private)


def publish(source: Path, facts: CardFacts, written: Sequence[Path], hub: str, private: bool) -> None:
    """Push a student's file, its card and what was written of its package to a repository of the hub."""
    if facts.teacher is not None and facts.taught:
        teacher, licence = facts.teacher.name, facts.teacher.licence or UNKNOWN
        log.warning(
            "the student learned from %s, whose licence is: %s; see that it permits what you do", teacher, licence
        )
    log.info("pushing to %s, which is made %s if it is new", hub, "private" if private else "public")
    files: dict[str, bytes | Path] = {STUDENT: source, "README.md": (front_matter(facts) + card_text(facts)).encode()}
    page = push(hub, {**files, **{file.name: file for file in written}}, private, f"{facts.name} by jointkd")
    log.info("pushed %s; load it with jointkd.load('hf://%s')", page, hub)


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
    if is_package(package):
        made = read_description(package)
        bound = f"{made.form}, {made.dtype}; for torch {made.torch} on {made.device} ({made.processor}) alone"
    else:
        bound = "a model of metatomic (TorchScript), whose energies are in float64"
    return replace(facts, package={"package": bound})


def write_card(facts: CardFacts, file: Path) -> None:
    """Write a model card into a new file."""
    with storage_errors(file, "output"):
        write_whole(file, card_text(facts).encode())
    log.info("model card written to %s", file)

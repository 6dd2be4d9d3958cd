"""The model card of a student: what it was made of, how good it is, and what it must not be used for, as Markdown."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ase.data import chemical_symbols

UNKNOWN = "unknown"
ERRORS = {
    "energy_mae_meV_per_atom": "energy MAE, meV/atom",
    "energy_mae_meV": "energy MAE, meV per structure",
    "force_mae_meV_per_A": "force MAE, meV/Å",
    "stress_mae_meV_per_A3": "stress MAE, meV/Å³",
    "atomic_energy_mae_meV": "atomic energy MAE (to the teacher), meV",
    "hessian_row_mae_eV_per_A2": "Hessian row MAE (to the teacher), eV/Å²",
}
TAGS = ("jointkd", "chemistry", "interatomic-potential", "molecular-dynamics", "knowledge-distillation")
NON_COMMERCIAL = re.compile(r"non-?\s?commercial|\bASL\b|academic software|\bNC\b", re.IGNORECASE)


@dataclass(frozen=True)
class TeacherFacts:
    """The teacher as the run recorded it; empty texts are unknown."""

    name: str
    licence: str = ""
    level_of_theory: str = ""
    citation: str = ""


@dataclass(frozen=True)
class Gate:
    """One criterion of an acceptance test."""

    name: str
    passed: bool
    value: str
    threshold: str


@dataclass(frozen=True)
class Drift:
    """How the total energy drifts in dynamics without a thermostat."""

    rate: float  # meV/atom/ps, the slope of a straight line
    time: float  # ps
    temperature: float  # K, at the start
    structure: str  # its formula


@dataclass(frozen=True)
class CardFacts:
    """What a model card says. None: unknown, and the card says so."""

    name: str
    architecture: str
    parameters: int
    precision: str
    elements: tuple[int, ...]  # atomic numbers; () if the file does not say which
    cutoff: float  # Å
    hops: int | None
    conservative: bool
    max_neighbors: int | None
    repulsion: bool | None
    imported_from: str | None = None  # the program that trained it, if not jointkd
    method: str | None = None
    seed: int | None = None
    steps: int | None = None
    data: str | None = None
    structures: Mapping[str, int] = field(default_factory=dict)  # by split
    contents: str | None = None  # what the training structures are
    reference: str | None = None  # where reference energies and forces come from
    from_teacher: Mapping[str, float] = field(default_factory=dict)  # how many energies and forces of the training
    teacher_shares: Mapping[str, float] = field(default_factory=dict)  # of the weight of each term, at the end
    energy_zero: str | None = None  # where reference energies of elements come from
    undetermined: tuple[Mapping[int, float], ...] = ()
    has_references: bool = True
    teacher: TeacherFacts | None = None
    taught: bool = True  # False: it learned nothing from the teacher, which is compared with it only
    test: Mapping[str, float] = field(default_factory=dict)  # by metric
    teacher_test: Mapping[str, float] = field(default_factory=dict)
    gates: tuple[Gate, ...] | None = None
    accepted: bool | None = None
    drift: Drift | None = None
    licence: str | None = None  # of the student
    package: Mapping[str, str] = field(default_factory=dict)  # what an exported package is bound to
    origin: Mapping[str, str] = field(default_factory=dict)  # revision, checksum

    @property
    def symbols(self) -> str:
        return " ".join(chemical_symbols[z] for z in self.elements) or UNKNOWN


def card_text(facts: CardFacts) -> str:
    """The model card."""
    sections = {
        f"# {known(facts.name)}": at_a_glance(facts),
        "## Trained on": trained_on(facts),
        "## Errors on the test split": errors(facts),
        "## Total energies": total_energies(facts),
        "## Stability": stability(facts),
        "## Do not use it for": (f"- {line}" for line in warnings(facts)),
        "## Origin": (f"- {name}: {known(value)}" for name, value in facts.origin.items()),
    }
    return "\n\n".join(f"{title}\n\n" + "\n".join(lines) for title, lines in sections.items()) + "\n"


def front_matter(facts: CardFacts) -> str:
    """What the Hugging Face hub reads of a card, as YAML before it."""
    lines = [f"license: {json.dumps(known(facts.licence))}", "library_name: jointkd", "tags:"]
    return "\n".join(["---", *lines, *(f"- {tag}" for tag in TAGS), "---", "", ""])


def at_a_glance(facts: CardFacts) -> Iterator[str]:
    reach = UNKNOWN
    if facts.hops is not None:
        reach = f"{facts.hops * facts.cutoff:g} Å ({facts.hops} hops): an atom's energy depends on no atom beyond"
    forces = "the gradient of the energy" if facts.conservative else "predicted directly, not the gradient of an energy"
    rows = {
        "force field": f"{known(facts.architecture)}, {facts.parameters:,} parameters, {facts.precision}",
        "elements": facts.symbols,
        "forces": forces,
        "cutoff": f"{facts.cutoff:g} Å"
        + (f", neighbours capped at {facts.max_neighbors}" if facts.max_neighbors is not None else ""),
        "receptive field": reach,
        "licence": known(facts.licence),
        **facts.package,
    }
    made = "trained" if facts.imported_from is None else f"trained with {known(facts.imported_from)}, for use"
    yield f"A machine-learned force field, {made} with [jointkd](https://github.com/jointkd/jointkd)."
    yield ""
    yield "| | |"
    yield "|---|---|"
    for name, value in rows.items():
        yield f"| {name} | {value} |"


def trained_on(facts: CardFacts) -> Iterator[str]:
    counts = ", ".join(f"{count:,} {split}" for split, count in facts.structures.items()) or UNKNOWN
    yield f"- data: {known(facts.data)}; structures: {counts}"
    yield f"- training structures: {known(facts.contents)}"
    yield f"- reference energies and forces: {known(facts.reference)}"
    if any(facts.from_teacher.values()):
        counts = " and ".join(f"{name} of {count:,.0f}" for name, count in facts.from_teacher.items())
        yield f"- training structures without reference labels have the teacher's: {counts}"
    if any(share < 1 for share in facts.teacher_shares.values()):
        shares = ", ".join(f"{known(name)} {100 * share:.0f} %" for name, share in facts.teacher_shares.items())
        yield f"- what the teacher's labels counted at the end, in each term of the loss: {shares}"
    if facts.teacher is None:
        yield f"- teacher: {'none' if facts.method == 'none' else UNKNOWN}"
    else:
        yield f"- teacher: {known(facts.teacher.name)}" + ("" if facts.taught else ", for comparison only")
        yield f"- the teacher's level of theory: {known(facts.teacher.level_of_theory)}"
        yield f"- the teacher's licence: {known(facts.teacher.licence)}"
        yield f"- to be cited for the teacher: {known(facts.teacher.citation)}"
    yield f"- method: {known(facts.method)}, {known(facts.steps)} steps, seed {known(facts.seed)}"


def errors(facts: CardFacts) -> Iterator[str]:
    if not facts.test:
        yield f"{UNKNOWN.capitalize()}: the file records none."
        return
    count = facts.structures.get("test")
    yield f"Of {f'{count:,}' if count else 'an unknown number of'} structures that were not trained on:"
    yield ""
    yield "| error | student | teacher |"
    yield "|---|---|---|"
    for name, title in ERRORS.items():
        if name in facts.test:
            theirs = "–" if "to the teacher" in title else UNKNOWN
            if name in facts.teacher_test:
                theirs = f"{facts.teacher_test[name]:.3g}"
            yield f"| {title} | {facts.test[name]:.3g} | {theirs} |"


def total_energies(facts: CardFacts) -> Iterator[str]:
    if not facts.has_references:
        yield "The file has no reference energies of elements: energies are on the zero of the training data."
        return
    yield f"They contain a reference energy for each element ({known(facts.energy_zero)})."
    if facts.undetermined:
        combinations = "; ".join(combination(each) for each in facts.undetermined)
        yield (
            "The training structures did not determine all of them. Total energies of compositions that contain one of "
            f"the combinations {combinations} are estimates and may be off by eV per atom. Differences between "
            "structures of one composition are not affected."
        )


def stability(facts: CardFacts) -> Iterator[str]:
    if facts.accepted is None or facts.gates is None:
        yield "Not tested: no acceptance test is recorded with this student."
    else:
        yield f"The acceptance test was {'passed' if facts.accepted else '**not passed**'}."
        yield ""
        yield "| criterion | value | threshold | |"
        yield "|---|---|---|---|"
        for gate in facts.gates:
            verdict = "passed" if gate.passed else "**failed**"
            yield f"| {known(gate.name)} | {known(gate.value)} | {known(gate.threshold)} | {verdict} |"
    if facts.drift is not None:
        yield ""
        yield (
            f"Without a thermostat the total energy drifts by {facts.drift.rate:.3g} meV/atom/ps "
            f"({facts.drift.structure}, {facts.drift.time:g} ps from {facts.drift.temperature:g} K)."
        )


def warnings(facts: CardFacts) -> Iterator[str]:
    """What the facts forbid, a line each."""
    yield f"elements other than {facts.symbols}" if facts.elements else "elements that it was not trained on"
    yield (
        "charges, spin states, or long-range electrostatics: it sees elements and positions"
        + ("" if facts.hops is None else f", and nothing beyond {facts.hops * facts.cutoff:g} Å")
    )
    yield "structures or conditions unlike those of its training and test data, without tests of your own"
    if not facts.conservative:
        drift = "not measured" if facts.drift is None else f"measured: {facts.drift.rate:.3g} meV/atom/ps"
        yield f"dynamics that must conserve energy (drift: {drift}), stress, or constant pressure: forces are direct"
    if facts.max_neighbors is not None:
        yield (
            f"properties that need smooth energies, such as phonons: the cap of {facts.max_neighbors} neighbours makes "
            "energies jump where the order of neighbours changes, and depend on the order of atoms"
        )
    if facts.repulsion is False:
        yield "atoms closer than in its training structures, as in collisions: it has no repulsion at short distances"
    if facts.undetermined or not facts.has_references:
        yield "reaction energies and other differences between compositions, see total energies"
    if facts.accepted is False:
        yield "production, before the criteria that failed are understood"
    if facts.teacher is None or not facts.taught:
        return
    if NON_COMMERCIAL.search(facts.teacher.licence):
        yield f"commercial purposes, as far as the teacher's licence forbids them: {known(facts.teacher.licence)}"
    elif not facts.teacher.licence:
        yield "commercial purposes, before you know the teacher's licence, which is not recorded"


def combination(coefficients: Mapping[int, float]) -> str:
    """A combination of elements as text, largest coefficient first."""
    terms = sorted(coefficients.items(), key=lambda term: -abs(term[1]))
    return " ".join(f"{value:+.2f} {chemical_symbols[z]}" for z, value in terms if abs(value) >= 0.005)


def known(value: object) -> str:
    """A value of a file as one line of text, or that it is unknown."""
    return " ".join(str(value).split()).replace("|", "/") if value not in (None, "") else UNKNOWN

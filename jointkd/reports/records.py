"""What the folders of runs record beside their errors: data, teachers, machines, acceptance, and what failed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jointkd.files.json_objects import read_json
from jointkd.files.run_files import ACCEPTANCE, CONFIGURATION, PROVENANCE, SUMMARY
from jointkd.reports.markup import Html, element
from jointkd.reports.markup import table as shown
from jointkd.reports.runs import SYMBOLS, Runs, split_sizes
from jointkd.reports.runs import differences as different_options
from jointkd.reports.tables import Table

Named = Mapping[str, list[dict[str, Any]]]  # runs by the short names of their settings

DIGITS = 12  # of a checksum


def provenance(run: Mapping[str, Any]) -> dict[str, Any]:
    """What a run recorded of its origin."""
    return read_json(run["folder"] / PROVENANCE) or {}


def warnings(runs: Runs) -> Iterator[str]:
    """What a reader must know before comparing the numbers."""
    for data in dict.fromkeys(setting.data for setting in runs):
        group = [run for setting, own in runs.items() if setting.data == data for run in own]
        tested = {provenance(run).get("data", {}).get("test") for run in group} - {None}
        if len(tested) > 1:
            yield (
                f"The runs on {data} were tested on {len(tested)} different sets of structures: their errors cannot be "
                "compared with each other. Give them the same division with data.split.path."
            )


def differences(runs: Named) -> Table | None:
    """The options that differ between the settings, None where none do."""
    every = [run for group in runs.values() for run in group]
    common = set.intersection(*(set(run["options"]) for run in every))  # those of terms that only some have say nothing
    options = sorted(different_options(every) & common)
    terms = dict.fromkeys(name for run in every for name in run["weights"])
    weights = [name for name in terms if len({run["weights"].get(name) for run in every}) > 1]
    head = [*options, *(SYMBOLS.get(name, f"weight of {name}") for name in weights)]
    rows = [
        [name]
        + [group[0]["options"][option] for option in options]
        + [number(group[0]["weights"].get(name)) for name in weights]
        for name, group in runs.items()
    ]
    return Table(["run", *head], rows) if head else None


def data(runs: Runs) -> Table:
    """Each data set with its file, the sizes of its splits, and checksums of the structures in them."""
    rows = {}
    for setting, group in runs.items():
        for run in group:
            sizes, sums = split_sizes(run["folder"]), provenance(run).get("data", {})
            splits = [f"{sizes[name]} ({str(sums.get(name))[:DIGITS]})" if name in sizes else "–" for name in SPLITS]
            row = [setting.data, run["options"].get("data.path", "–"), run["options"].get("data.reference", "–")]
            rows[tuple(splits), setting.data] = [*row, *splits]
    head = ["data", "file", "energies and forces of", *(f"{name} (checksum)" for name in SPLITS)]
    return Table(head, list(rows.values()))


SPLITS = ("train", "val", "test")


def teachers(runs: Runs) -> Iterator[Html]:
    """Each teacher with its licence, level of theory and citation, which its students inherit."""
    known: dict[str, dict[str, Any]] = {}
    for setting, group in runs.items():
        for run in group:
            if run.get("teacher_card"):
                known[setting.teacher] = {**(provenance(run).get("teacher") or {}), **run["teacher_card"]}
    for name, card in known.items():
        versions = ", ".join(f"{package} {number}" for package, number in (card.get("versions") or {}).items())
        facts = {
            "licence": card.get("licence") or "not stated",
            "level of theory": card.get("level_of_theory") or "not stated",
            "citation": card.get("citation") or "not stated",
            "checkpoint (sha256)": card.get("checkpoint", "–"),
            "elements": ", ".join(map(str, card.get("elements", []))),
            "labels made in": f"{card.get('dtype', '–')}{f' with {versions}' if versions else ''}",
        }
        listed = [part for fact, text in facts.items() for part in (element("dt", fact), element("dd", text))]
        yield element("h3", name)
        yield element("dl", *listed)
    if known:
        yield element("p", "A student is bound by the licence of its teacher where that says so.", class_="note")


def machines(runs: Named) -> Table:
    """What each run was computed with and on, and how long it took."""
    rows = []
    for name, group in runs.items():
        for run in group:
            origin = provenance(run)
            versions, hardware = origin.get("versions", {}), origin.get("hardware", {})
            place = hardware.get("gpu") or hardware.get("processor", "–")
            threads = f", threads: {hardware['threads']}" if "threads" in hardware and "gpu" not in hardware else ""
            minutes = f"{(run['ended'] - run['started']) / 60:.1f}"
            own = [f"{package} {versions[package]}" for package in ("jointkd", "torch") if package in versions]
            revision = str(origin.get("git") or "–")[:DIGITS]
            steps = str(run.get("steps", "–"))
            rows.append([name, str(run["seed"]), steps, minutes, place + threads, ", ".join(own), revision])
    return Table(["run", "seed", "steps", "minutes", "hardware", "software", "revision"], rows)


def acceptance(runs: Named) -> Iterator[Html]:
    """The gates that students had to pass before use, where `acceptance.json` lies in a run's folder."""
    for name, group in runs.items():
        for run in group:
            found = read_json(run["folder"] / ACCEPTANCE)
            if not found:
                continue
            word = "passed" if found.get("passed") is True else "failed"
            yield element("h3", f"{name}, seed {run['seed']}: ", element("span", word, class_=word))
            rows = [
                [str(gate.get("name", "–")), "passed" if gate.get("passed") is True else "failed"]
                + [f"{number(gate.get(field))} {gate.get('unit') or ''}".strip() for field in ("value", "threshold")]
                for gate in found.get("gates") or []
                if isinstance(gate, dict)
            ]
            yield shown(Table(["gate", "", "value", "threshold"], rows))


def number(value: object) -> str:
    """A number with three digits; other values as they are."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    return f"{value:.3g}"


def failures(root: Path, runs: Named) -> Iterator[Html]:
    """Runs without results, and structures that a teacher could not label; a line where there are none."""
    unfinished = [[str(folder.relative_to(root)) or ".", reason] for folder, reason in unfinished_runs(root)]
    labels = [
        [name, str(run["seed"]), reason, str(count)]
        for name, group in runs.items()
        for run in group
        for reason, count in (run.get("failed_labels") or {}).items()
    ]
    if unfinished:
        yield shown(Table(["folder without results", "the last line of its log"], unfinished))
    if labels:
        yield shown(Table(["run", "seed", "structures without labels, because", "structures"], labels))
    if not (unfinished or labels):
        yield element("p", "Nothing: every run below this folder has ended, and every structure has its labels.")


def unfinished_runs(root: Path) -> Iterator[tuple[Path, str]]:
    """The folders of runs that have no summary, with the last line of the log."""
    folders = {file.parent for name in (CONFIGURATION, "jointkd.log") for file in root.rglob(name)}
    for folder in sorted(folders):
        within_a_run = not folders.isdisjoint(folder.parents)  # as the files of Weights & Biases
        if not (within_a_run or (folder / SUMMARY).exists()):
            log = folder / "jointkd.log"
            lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
            yield folder, next((line for line in reversed(lines) if line.strip()), "it has no log")

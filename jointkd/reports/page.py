"""One page of HTML with all that a report has: nothing is fetched when it is opened."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jointkd.files.atomic import write_whole
from jointkd.reports import records
from jointkd.reports.figures import Figure
from jointkd.reports.markup import Html, element, image, joined
from jointkd.reports.markup import table as shown
from jointkd.reports.runs import Runs
from jointkd.reports.tables import Table, caption, names, table

FILE = "report.html"
STYLE = Path(__file__).with_name("page.css")


def write_page(root: Path, runs: Runs, summary: dict[str, Any], figures: Sequence[Figure]) -> None:
    """Write report.html into the folder of the runs."""
    title = f"Report on {root.absolute().name}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(STYLE.read_text(encoding="utf-8"))),
    )
    count = sum(map(len, runs.values()))
    seeds = ", ".join(map(str, summary["seeds"]))
    counted = f"{count} finished run{'s' if count > 1 else ''} of {len(runs)} setting{'s' if len(runs) > 1 else ''}"
    line = f"{counted}, seed{'s' if len(summary['seeds']) > 1 else ''} {seeds}; jointkd {version('jointkd')}"
    body = element(
        "body",
        element("h1", title),
        element("p", line, class_="note"),
        *(element("p", warning, class_="warning") for warning in records.warnings(runs)),
        section("Test errors", *errors(runs, summary)),
        section("Figures", *(figure(root, each) for each in figures)),
        section("Acceptance", *records.acceptance(named(runs))),
        section("Differences between the runs", *optional(records.differences(named(runs)))),
        section("Data", *optional(records.data(runs))),
        section("Teachers", *records.teachers(runs)),
        section("Software and hardware", *optional(records.machines(named(runs)))),
        section("What failed", *records.failures(root, named(runs))),
    )
    page = joined([Html("<!DOCTYPE html>\n"), element("html", head, body, lang="en"), "\n"])
    write_whole(root / FILE, page.encode())


def section(title: str, *content: Html) -> Html:
    """A part of the page with its title; nothing where there is no content."""
    return element("section", element("h2", title), *content) if content else Html("")


def optional(content: Table | None) -> list[Html]:
    """A table that there may be."""
    return [shown(content)] if content and content.rows else []


def errors(runs: Runs, summary: dict[str, Any]) -> list[Html]:
    """The table of the test errors, and what its numbers mean."""
    best = "Bold: the smallest error of each student on each data set."
    return [shown(table(runs, summary)), element("p", f"{best} {caption(runs, summary)}", class_="note")]


def figure(root: Path, each: Figure) -> Html:
    """A plot with its caption."""
    text = element("figcaption", element("strong", f"{each.title}. "), f"{each.caption} Data: {each.data}.")
    numbers = [shown(each.table)] if each.table else []
    return element("figure", image(root / each.file, each.title), text, *numbers)


def named(runs: Runs) -> dict[str, list[dict[str, Any]]]:
    """The runs by the short names of their settings."""
    return {name: runs[setting] for setting, name in names(runs).items()}

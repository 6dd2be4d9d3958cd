"""The report on many runs: tables, a summary, plots with their data, and one page with all of it."""

import json
import logging
from pathlib import Path
from typing import Any

from jointkd.files.atomic import write_whole
from jointkd.reports import plots
from jointkd.reports.page import Figure, write_page
from jointkd.reports.plots import TRAINING
from jointkd.reports.runs import ORDER, SYMBOLS, Runs, read_runs
from jointkd.reports.tables import caption, epochs_table, names, summarise, table, varying

log = logging.getLogger(__name__)

EPOCHS_TITLE = "Epochs to the final validation energy error of the Hessian run"


def write_comparison(root: Path) -> None:
    """Write table.md, report.html, comparison.json and plots of all finished runs below a folder into it.

    Raises DataError where there are none.
    """
    runs = read_runs(root)
    summary = summarise(runs)
    write_whole(root / "comparison.json", (json.dumps(summary, indent=2) + "\n").encode())
    epochs = epochs_table(summary)
    below = f"{EPOCHS_TITLE}:\n\n{epochs.markdown()}" if epochs else ""
    text = "\n\n".join(filter(None, [table(runs, summary).markdown(), caption(runs), below]))
    write_whole(root / "table.md", (text + "\n").encode())
    figures = draw(root, runs, summary)
    write_page(root, runs, summary, figures)
    log.info("%s", text)
    written = ["report.html", "table.md", "comparison.json", *(figure.file for figure in figures)]
    log.info("written to %s: %s", root, ", ".join(written))


def draw(root: Path, runs: Runs, summary: dict[str, Any]) -> list[Figure]:
    """The plots of what these runs have."""
    figures = [Figure("comparison.png", "Test errors", compare(root / "comparison.png", runs, summary))]
    if summary["epochs"]:
        plots.epochs(summary["epochs"], root / "epochs.png")
        figures.append(Figure("epochs.png", EPOCHS_TITLE, "As in the paper's figure 3.", "comparison.json"))
    return figures


def compare(path: Path, runs: Runs, summary: dict[str, Any]) -> str:
    """Plot the test errors in the form that suits what differs between the runs, and say what is shown."""
    own = names(runs)
    if (swept := sweep_of(runs)) is not None:
        plots.sweep(runs, own, summary, *swept, path)
        return f"Test errors against {swept[1]}."
    if "options" in varying(runs) or len(runs) <= len(ORDER["method"]):
        plots.methods(runs, own, summary, path)
        return "Test errors, and validation errors during training."
    plots.grid(runs, own, summary, path)
    return "Test errors by data set and student, as in the paper's figure 2."


def sweep_of(runs: Runs) -> tuple[str, str] | None:
    """The only option that differs beside the method, with its label, if its values are numbers."""
    swept = [name for name in (*SYMBOLS, "options") if name in varying(runs)]
    if len(swept) != 1:
        return None
    if swept[0] in SYMBOLS:
        return swept[0], "parameters, millions" if swept[0] == "width" else SYMBOLS[swept[0]]
    options = {tuple(setting.options.partition("=")[::2]) for setting in runs}
    (name, *others) = {name for name, _ in options}
    if others or not all(is_number(value) for _, value in options):
        return None
    return name, "training structures" if name == TRAINING else name


def is_number(text: str) -> bool:
    """Whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True

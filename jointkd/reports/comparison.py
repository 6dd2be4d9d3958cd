"""The report on many runs: tables, a summary, plots with their data, and one page with all of it."""

import csv
import io
import json
import logging
from pathlib import Path
from typing import Any

from jointkd.files.atomic import write_whole
from jointkd.reports import plots
from jointkd.reports.figures import Figure
from jointkd.reports.formation_plots import Elements, formation
from jointkd.reports.hull_plots import hull as distances_to_hull
from jointkd.reports.method_plots import learning, methods
from jointkd.reports.page import write_page
from jointkd.reports.parity_plots import parity
from jointkd.reports.plots import TRAINING
from jointkd.reports.runs import ORDER, SYMBOLS, Runs, read_runs
from jointkd.reports.speed_plots import benchmark, throughput
from jointkd.reports.tables import caption, epochs_table, names, summarise, table, varying

log = logging.getLogger(__name__)

EPOCHS_TITLE = "Epochs to the final validation energy error of the Hessian run"


def write_comparison(root: Path, elements: Elements | None = None, hull: float | None = None) -> None:
    """Write table.md, report.html, comparison.json and plots of all finished runs below a folder into it.

    elements: eV/atom by chemical symbol, the zero of formation energies; None: as the runs recorded. hull: eV/atom
    above the convex hull that count as stable; None: no hull is made. Raises DataError where there are no runs.
    """
    runs = read_runs(root)
    summary = summarise(runs)
    write_whole(root / "comparison.json", (json.dumps(summary, indent=2) + "\n").encode())
    epochs = epochs_table(summary)
    below = f"{EPOCHS_TITLE}:\n\n{epochs.markdown()}" if epochs else ""
    text = "\n\n".join(filter(None, [table(runs, summary).markdown(), caption(runs, summary), below]))
    write_whole(root / "table.md", (text + "\n").encode())
    figures = draw(root, runs, summary, elements, hull)
    write_page(root, runs, summary, figures)
    log.info("%s", text)
    written = ["report.html", "table.md", "comparison.json", "curves.csv", *(figure.file for figure in figures)]
    log.info("written to %s: %s", root, ", ".join(written))


def draw(
    root: Path, runs: Runs, summary: dict[str, Any], elements: Elements | None, hull: float | None
) -> list[Figure]:
    """The plots of what these runs have."""
    shown = compare(root / "comparison.png", runs, summary)
    alone = sweep_of(runs) is not None or not of_methods(runs)
    write_whole(root / "curves.csv", curves(runs).encode())
    figures = [
        Figure("comparison.png", "Test errors", shown, "comparison.json" if alone else "comparison.json and curves.csv")
    ]
    if alone:
        learning(runs, names(runs), root / "curves.png")
        figures.append(Figure("curves.png", "Learning curves", "Validation errors during training.", "curves.csv"))
    if summary["epochs"]:
        epochs = epochs_table(summary)
        plots.epochs(summary["epochs"], root / "epochs.png")
        figures.append(Figure("epochs.png", EPOCHS_TITLE, "As in the paper's figure 3.", table=epochs))
    own = {name: runs[setting] for setting, name in names(runs).items()}
    others = (
        throughput(root, runs, summary),
        parity(root, own),
        formation(root, runs, elements),
        None if hull is None else distances_to_hull(root, own, hull, elements),
        benchmark(root),
    )
    return [*figures, *(figure for figure in others if figure is not None)]


def compare(path: Path, runs: Runs, summary: dict[str, Any]) -> str:
    """Plot the test errors in the form that suits what differs between the runs, and say what is shown."""
    own = names(runs)
    if (swept := sweep_of(runs)) is not None:
        plots.sweep(runs, own, summary, *swept, path)
        return f"Test errors against {swept[1]}."
    if of_methods(runs):
        methods(runs, own, summary, path)
        return "Test errors, and validation errors during training."
    plots.grid(runs, own, summary, path)
    return "Test errors by data set and student, as in the paper's figure 2."


def curves(runs: Runs) -> str:
    """The validation errors of all runs during training, as CSV."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["setting", "seed", "metric", "step", "value"])
    for setting, name in names(runs).items():
        for run in runs[setting]:
            for metric in plots.MAIN:
                points = zip(*plots.history(run["folder"], f"val/{metric}", "step"), strict=True)
                table.writerows([name, run["seed"], metric, step, value] for step, value in points)
    return text.getvalue()


def of_methods(runs: Runs) -> bool:
    """Whether all settings are drawn together, each with a bar and a learning curve."""
    swept = [name for name in (*SYMBOLS, "options") if name in varying(runs)]
    return bool(swept) or len(runs) <= len(ORDER["method"])


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

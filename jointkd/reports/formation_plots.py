"""The cumulative distribution of the errors of formation energies, as in the paper's figure 7."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase.formula import Formula
from matplotlib.ticker import PercentFormatter

from jointkd.errors import ConfigError
from jointkd.evaluation.formation import cumulative_distribution, formation_energies
from jointkd.files.atomic import write_whole
from jointkd.palette import COLUMN, CYCLE, LINES, METHODS, OTHER, PAGE
from jointkd.reports.figures import Figure
from jointkd.reports.runs import Runs
from jointkd.reports.structures import TestedStructures
from jointkd.reports.style import figure_of, legend_below, save
from jointkd.reports.tables import Table, names

FILE, DATA = "formation.png", "formation.csv"
QUANTILES = (50, 90, 99)  # %
SMALLEST = 1e-3  # meV/atom, the least end of the axis

Elements = Mapping[str, float]  # eV/atom by chemical symbol


def formation(root: Path, runs: Runs, given: Elements | None = None) -> Figure | None:
    """Draw the errors over the test structures of all seeds; None where no run recorded them.

    given: energies of the elements in their reference phases, None for those that the runs recorded.
    """
    errors = {}
    for setting, group in runs.items():
        parts = [formation_errors(run, given) for run in group]
        known = np.concatenate([part[np.isfinite(part)] for part in parts if part is not None] or [np.empty(0)])
        if known.size:
            errors[setting] = np.abs(known)
    if not errors:
        return None
    own = names(runs)
    data = list(dict.fromkeys(setting.data for setting in errors))
    width = max(COLUMN, min(2.4 * len(data), PAGE))
    figure, axes = figure_of(1, len(data), width, height=2.7)
    for axis, name in zip(axes[0], data, strict=True):
        settings = [setting for setting in errors if setting.data == name]
        repeat = len({setting.method for setting in settings}) < len(settings)
        for index, setting in enumerate(settings):
            color = CYCLE[index % len(CYCLE)] if repeat else METHODS.get(setting.method, OTHER)
            style = LINES.get(setting.method, "-")
            ordered, share = cumulative_distribution(errors[setting])
            axis.step([0, *ordered], [0, *share], style, where="post", color=color, label=own[setting])
        largest = max(np.percentile(errors[setting], QUANTILES[-1]) for setting in settings)
        axis.set_xlim(0, 1.05 * max(largest, SMALLEST))
        axis.set_xlabel("absolute error of the\nformation energy, meV/atom")
        axis.yaxis.set_major_formatter(PercentFormatter(1))
        axis.set_title(name)
    legend_below(figure, axes[0, 0], [own[setting] for setting in errors])
    axes[0, 0].set_ylabel("test structures")
    save(figure, root / FILE)
    write_whole(root / DATA, as_csv({own[setting]: values for setting, values in errors.items()}).encode())
    text = f"Share of the test structures with a smaller error, as in the paper's figure 7. {explained(runs, given)}"
    return Figure(FILE, "Formation energies", text, DATA, quantiles({own[each]: errors[each] for each in errors}))


def formation_errors(run: Mapping[str, Any], given: Elements | None) -> np.ndarray | None:
    """[M] meV/atom of a run's test structures; None where it did not record them."""
    tested = TestedStructures.read(run["folder"])
    recorded = run.get("elements") or {}
    if tested is None or not (given or recorded):
        return None
    if given is not None:
        check_given(given, tested.formulas)
    reference = {symbol: element["energy"] for symbol, element in recorded.items()}
    predicted = {symbol: element["predicted"] for symbol, element in recorded.items()}
    zeros = (given, given) if given else (reference, predicted)
    energies = (
        formation_energies(energy, tested.formulas, zero)
        for energy, zero in zip((tested.energies, tested.predicted), zeros, strict=True)
    )
    reference_energies, predicted_energies = energies
    return 1e3 * (predicted_energies - reference_energies)


def recorded_phases(run: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By chemical symbol the fields of the `ElementEnergy` of the elements whose energy is that of a structure."""
    recorded: dict[str, dict[str, Any]] = run.get("elements") or {}
    return {symbol: element for symbol, element in recorded.items() if "not a structure" not in element["origin"]}


def check_given(given: Elements, formulas: Iterable[str]) -> None:
    """Raise ConfigError where the energies that were given lack an element of the test structures."""
    if missing := sorted({symbol for formula in set(formulas) for symbol in Formula(formula).count()} - given.keys()):
        raise ConfigError(
            f"elements has no energy of {', '.join(missing)}, which test structures contain",
            "give the energies of all elements, or leave elements out",
        )


def explained(runs: Runs, given: Elements | None) -> str:
    """Which energies of the elements the formation energies are relative to."""
    if given:
        return "The energies of the elements are those given, the same for reference and prediction."
    phases = {
        symbol: element["origin"] for group in runs.values() for symbol, element in recorded_phases(group[0]).items()
    }
    if not phases:
        return (
            "The training data have no structure of one element, so that the energies of the elements are the "
            "reference energies, the same for reference and prediction: the error is that of the total energy."
        )
    listed = ", ".join(f"{symbol} ({origin})" for symbol, origin in sorted(phases.items()))
    return (
        f"Reference phases, each with its own reference and predicted energy: {listed}; other elements: the reference "
        "energies."
    )


def quantiles(errors: Mapping[str, np.ndarray]) -> Table:
    """The quantiles of the errors by setting, the smallest in bold."""
    rows = [[*np.percentile(values, QUANTILES).tolist(), float(values.max())] for values in errors.values()]
    smallest = np.min(rows, axis=0)
    best = {
        (row, column + 1)
        for row, values in enumerate(rows)
        for column in range(4)
        if values[column] == smallest[column]
    }
    texts = [[name, *(f"{value:.3g}" for value in row)] for name, row in zip(errors, rows, strict=True)]
    head = ["meV/atom", *(f"{level} %" for level in QUANTILES), "largest"]
    return Table(head, texts, frozenset(best if len(rows) > 1 else ()))


def as_csv(errors: Mapping[str, np.ndarray]) -> str:
    """The points of the curves."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["setting", "absolute_error_meV_per_atom", "share"])
    for name, values in errors.items():
        for error, share in zip(*cumulative_distribution(values), strict=True):
            table.writerow([name, f"{error:.6g}", f"{share:.6g}"])
    return text.getvalue()

"""The files of a spectrum of errors: table by mode, summary and plot, and the table in the log."""

import csv
import io
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jointkd.evaluation.error_spectra import ErrorSpectrum
from jointkd.files.atomic import write_whole
from jointkd.reports.curve_plots import save_new, styles
from jointkd.reports.plots import pyplot

log = logging.getLogger(__name__)

TABLE, SUMMARY, PLOT = FILES = ("spectrum.csv", "spectrum.json", "spectrum.png")
QUANTITIES = ("energy", "force", "Hessian")
PARTS = ("constant", "low", "high", "energy", "force", "hessian")
ENOUGH = 0.1  # mismatch of derivative and forces above which there are too few samples


def write_spectra(
    folder: Path,
    spectra: Mapping[str, ErrorSpectrum],
    unit: str,
    first_high: int,
    constant: bool,
    options: dict[str, Any],
) -> dict[str, Any]:
    """Write spectrum.csv, spectrum.png and spectrum.json, log the summary, and return what spectrum.json says.

    unit: of the coordinate, rad or Å; for first_high and constant see `ErrorSpectrum.summary`.
    """
    students = {name: each.summary(first_high, constant) for name, each in spectra.items()}
    paths = len(next(iter(spectra.values())).powers)
    summary = {"options": options, "unit": unit, "paths": paths, "students": students}
    write_whole(folder / TABLE, table(spectra, unit, constant).encode())
    plot_spectra(spectra, unit, first_high, constant, folder / PLOT)
    write_whole(folder / SUMMARY, (json.dumps(summary, indent=2, ensure_ascii=False) + "\n").encode())
    log.info("%s", "\n".join(lines(students, unit, first_high, paths, constant)))
    for name, found in students.items():
        if (found["sampling_mismatch"] or 0.0) > ENOUGH:
            log.warning(
                "%s: along a path the derivative of the energy error is %.0f %% off the force error: give more steps",
                name,
                100 * found["sampling_mismatch"],
            )
    log.info("written to %s: %s", folder, ", ".join(FILES))
    return summary


def table(spectra: Mapping[str, ErrorSpectrum], unit: str, constant: bool) -> str:
    """A line for each student and mode; mode 0 is the constant one, which is left out where it means nothing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    powers = ("energy_meV2", f"force_meV2_per_{unit}2", f"hessian_meV2_per_{unit}4")
    writer.writerow(("student", "mode", f"omega_per_{unit}", *powers, "bound_meV2"))
    for name, each in spectra.items():
        orders = [1e6 * each.power(order) for order in range(3)]
        for mode in range(0 if constant else 1, len(each.omega)):
            bound = "" if each.bound is None else f"{1e6 * each.bound[mode]:.6g}"
            values = (f"{power[mode]:.6g}" for power in orders)
            writer.writerow((name, mode, f"{each.omega[mode]:.6g}", *values, bound))
    return text.getvalue()


def lines(
    students: Mapping[str, Mapping[str, Any]], unit: str, first_high: int, paths: int, constant: bool
) -> list[str]:
    """Root mean squares of each student's errors as a table."""
    width = max(map(len, students)) + 2
    units = ("meV",) * 4 + (f"meV/{unit}", f"meV/{unit}²")
    names = ("constant", f"modes < {first_high}", f"modes ≥ {first_high}", "energy", "force", "Hessian")
    rows = [
        f"root mean square errors over {paths} paths, ± standard error; all but the first without the constant mode",
        f"{'':<{width}}" + "".join(f"{name:>18}" for name in names),
        f"{'':<{width}}" + "".join(f"{each:>18}" for each in units),
    ]
    for name, found in students.items():
        cells = [cell(found, part) if part != "constant" or constant else "–" for part in PARTS]
        rows.append(f"{name:<{width}}" + "".join(f"{each:>18}" for each in cells))
    return rows


def cell(found: Mapping[str, Any], part: str) -> str:
    """A root mean square with its standard error, where there is one."""
    value, error = found[f"{part}_rms_meV"], found[f"{part}_rms_meV_error"]
    return f"{value:.4g}" if error is None else f"{value:.4g} ± {error:.2g}"


def plot_spectra(spectra: Mapping[str, ErrorSpectrum], unit: str, first_high: int, constant: bool, path: Path) -> None:
    """The power of each mode for energy, force and Hessian; dashed: the bound of eq. 22; squares: the constant mode."""
    figure, panels = pyplot.subplots(1, 3, figsize=(11, 4.0), layout="constrained")
    drawn = styles(spectra)
    for order, (panel, quantity) in enumerate(zip(panels, QUANTITIES, strict=True)):
        for name, each in spectra.items():
            style = drawn[name]
            omega, power = each.omega[1:], 1e6 * each.power(order)
            panel.loglog(omega, power[1:], label=name, marker="o", markersize=2.5, **style)
            if order == 0 and constant:
                panel.plot(omega[0] / 2, power[0], "s", color=style["color"], markersize=6)
            if order == 0 and each.bound is not None:
                panel.loglog(omega, 1e6 * each.bound[1:], color=style["color"], linestyle=(0, (2, 2)), linewidth=1)
        edge = np.sqrt(omega[first_high - 2] * omega[first_high - 1]) if first_high > 1 else omega[0]
        panel.axvline(edge, color="#9aa0a6", linewidth=0.8, zorder=0)
        per = ("", f"/{unit}²", f"/{unit}⁴")[order]
        panel.set_title(f"{quantity} error", fontsize=10)
        panel.set_ylabel(f"power of a mode, meV²{per}")
        panel.set_xlabel(f"angular frequency ω, 1/{unit}")
        panel.spines[["top", "right"]].set_visible(False)
    if constant:
        panels[0].annotate(
            "constant", (omega[0] / 2, 0.02), xycoords=("data", "axes fraction"), ha="center", fontsize=8
        )
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False, fontsize=9
    )
    save_new(figure, path)

"""The files of a spectrum of errors: table by mode, summary and plot, and the table in the log."""

import csv
import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from jointkd.evaluation.error_spectra import ErrorSpectrum
from jointkd.files.atomic import write_whole
from jointkd.palette import LIMIT, OTHER, PAGE, SMALL, THIN
from jointkd.reports.curve_plots import save_new, styles
from jointkd.reports.style import pyplot

log = logging.getLogger(__name__)

TABLE, SUMMARY, PLOT = FILES = ("spectrum.csv", "spectrum.json", "spectrum.png")
QUANTITIES = ("energy", "force", "Hessian")
HESSIAN = "hessian"  # the method that others are compared with
COLUMN = 19  # characters
PARTS = ("constant", "low", "high", "energy", "force", "hessian")
BOUND = (0, (2, 2))  # the dashes of a bound
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
    ratios = {
        f"{name} / {other}": each.ratios(spectra[other], first_high, constant)
        for name, each in spectra.items()
        for other in spectra
        if other != name
    }
    summary = {"options": options, "unit": unit, "paths": paths, "students": students, "ratios": ratios}
    write_whole(folder / TABLE, table(spectra, unit, constant).encode())
    plot_spectra(spectra, unit, first_high, constant, folder / PLOT)
    write_whole(folder / SUMMARY, (json.dumps(summary, indent=2, ensure_ascii=False) + "\n").encode())
    log.info("%s", "\n".join(lines(students, unit, first_high, paths, constant)))
    if len(spectra) > 1:
        base = HESSIAN if HESSIAN in spectra else next(iter(spectra))
        log.info(
            "%s", "\n".join(ratio_lines({name: ratios[f"{name} / {base}"] for name in spectra if name != base}, base))
        )
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
        f"{'':<{width}}" + "".join(f"{name:>{COLUMN}}" for name in names),
        f"{'':<{width}}" + "".join(f"{each:>{COLUMN}}" for each in units),
    ]
    for name, found in students.items():
        cells = [cell(found, part) if part != "constant" or constant else "–" for part in PARTS]
        rows.append(f"{name:<{width}}" + "".join(f"{each:>{COLUMN}}" for each in cells))
    return rows


def ratio_lines(ratios: Mapping[str, Mapping[str, Sequence[float]]], base: str) -> list[str]:
    """Root mean squares of students relative to those of one of them as a table."""
    rows = [f"relative to {base}, with the 95 % interval by a bootstrap over the paths"]
    width = max(map(len, (*ratios, base))) + 2
    for name, found in ratios.items():
        cells = ["–" if part not in found else "{:.2f} [{:.2f}, {:.2f}]".format(*found[part]) for part in PARTS]
        rows.append(f"{name:<{width}}" + "".join(f"{each:>{COLUMN}}" for each in cells))
    return rows


def cell(found: Mapping[str, Any], part: str) -> str:
    """A root mean square with its standard error, where there is one."""
    value, error = found[f"{part}_rms_meV"], found[f"{part}_rms_meV_error"]
    if error is None:
        return f"{value:.4g}"
    decimals = max(0, 1 - int(np.floor(np.log10(error)))) if error > 0 else 1
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def plot_spectra(spectra: Mapping[str, ErrorSpectrum], unit: str, first_high: int, constant: bool, path: Path) -> None:
    """The power of each mode for energy, force and Hessian, with the bound of eq. 22 and, on the left, the constant."""
    figure, panels = pyplot.subplots(1, 3, figsize=(PAGE, 2.9), layout="constrained")
    drawn = styles(spectra)
    for order, (panel, quantity) in enumerate(zip(panels, QUANTITIES, strict=True)):
        for name, each in spectra.items():
            panel.loglog(
                each.omega[1:], 1e6 * each.power(order)[1:], label=name, marker="o", markersize=2.5, **drawn[name]
            )
        omega = next(iter(spectra.values())).omega
        if first_high > 1:
            panel.axvline(np.sqrt(omega[first_high - 1] * omega[first_high]), color=LIMIT, linewidth=THIN, zorder=0)
        panel.set_title(f"{quantity} error")
        panel.set_ylabel("power of a mode, meV²" + ("", f"/{unit}²", f"/{unit}⁴")[order])
        panel.set_xlabel(f"angular frequency ω, 1/{unit}")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
    for name, each in spectra.items():
        add_bound(panels[0], each, drawn[name]["color"], constant)
    panels[0].set_xlim(left=omega[1] / 3.5)
    if constant:
        panels[0].text(
            omega[1] / 2, 0.02, "constant", transform=panels[0].get_xaxis_transform(), ha="center", fontsize=SMALL
        )
    handles, labels = panels[0].get_legend_handles_labels()
    if any(each.bound is not None for each in spectra.values()):
        handles.append(pyplot.Line2D([], [], color=OTHER, linewidth=1, linestyle=BOUND))
        labels.append("bound by the errors of atomic energies and Hessian (eq. 22)")
    figure.legend(handles, labels, loc="outside upper center", ncols=5)
    save_new(figure, path)


def add_bound(panel: Any, spectrum: ErrorSpectrum, color: str, constant: bool) -> None:
    """The constant mode as a square an octave left of the others, and the bound, which is flat there."""
    omega = np.array([spectrum.omega[1] / 2, *spectrum.omega[1:]])
    if constant:
        panel.plot(omega[0], 1e6 * spectrum.power()[0], "s", color=color, markersize=6)
    if spectrum.bound is not None:
        panel.plot(omega, 1e6 * spectrum.bound, color=color, linestyle=BOUND, linewidth=1)

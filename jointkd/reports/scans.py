"""The files of a dihedral scan: table, summary, structures and plot, and the table in the log."""

import csv
import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write

from jointkd.evaluation.profiles import Curves
from jointkd.files.atomic import new_text, write_whole
from jointkd.reports.curve_plots import plot_curves

log = logging.getLogger(__name__)

TABLE, SUMMARY, STRUCTURES, PLOT = "scan.csv", "scan.json", "structures.xyz", "scan.png"
FILES = (TABLE, SUMMARY, STRUCTURES, PLOT)
COLUMNS = ("curve", "angle_deg", "force_field", "energy_eV", "relative_energy_meV")


def write_scan(
    folder: Path, curves: Sequence[Curves], against: Sequence[str], options: Mapping[str, Any], axis: str
) -> dict[str, Any]:
    """Write scan.csv, scan.png and scan.json, log the comparison, and return what scan.json says.

    against: names of the curves to which the others are compared; axis: the abscissa of the plot, with its unit.
    """
    compared = {each.title: each.compare(against) for each in curves}
    summary = {"options": dict(options), "curves": compared}
    write_whole(folder / TABLE, table(curves).encode())
    plot_curves(curves, axis, folder / PLOT)
    write_whole(folder / SUMMARY, (json.dumps(summary, indent=2, ensure_ascii=False) + "\n").encode())
    for title, found in compared.items():
        log.info("%s\n%s", title, "\n".join(lines(found, against)))
    log.info("written to %s: %s", folder, ", ".join(name for name in FILES if (folder / name).exists()))
    return summary


def write_structures(path: Path, structures: Mapping[str, Sequence[Atoms]], curves: Curves) -> None:
    """Write the structures of a scan as extended XYZ, with their angle and the energy of every force field at them.

    structures: by the force field that relaxed them, whose energy alone they then have, or one entry with an empty name
    for those that all of them share.
    """
    with new_text(path) as text:
        for owner, frames in structures.items():
            for place, atoms in enumerate(frames):
                energies = {owner: curves.energies[owner]} if owner else curves.energies
                named = {f"{name.replace(' ', '_')}_energy": float(energies[name][place]) for name in energies}
                copy = Atoms(atoms.numbers, atoms.positions)
                copy.info |= {"dihedral_deg": float(curves.angles[place]), **({"relaxed_with": owner} if owner else {})}
                copy.info |= {name: energy for name, energy in named.items() if np.isfinite(energy)}
                write(text, copy, format="extxyz")


def table(curves: Sequence[Curves]) -> str:
    """A line for each curve, angle and force field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in curves:
        for name, energies in each.energies.items():
            for angle, energy, relative in zip(each.angles, energies, each.relative(name), strict=True):
                writer.writerow((each.title, f"{angle:g}", name, f"{energy:.9g}", f"{relative:.4f}"))
    return text.getvalue()


def lines(found: Mapping[str, Mapping[str, Any]], against: Sequence[str]) -> list[str]:
    """The comparison of one curve as a table."""
    shown = [name for name in against if name in found]
    width = max(map(len, found)) + 2
    head = f"{'':<{width}}{'barrier':>10}{'at':>8}{'minimum at':>12}" + "".join(
        f"{f'RMSE to {name}':>22}" for name in shown
    )
    rows = [head, f"{'':<{width}}{'meV':>10}{'deg':>8}{'deg':>12}" + "".join(f"{'meV':>22}" for _ in shown)]
    for name, summary in found.items():
        keys = ("barrier_meV", "barrier_angle_deg", "minimum_angle_deg")
        cells = [f"{number(summary[key]):>{size}}" for key, size in zip(keys, (10, 8, 12), strict=True)]
        rmse = [summary.get(f"to_{other}", {}).get("rmse_meV") for other in shown]
        rows.append(f"{name:<{width}}" + "".join(cells) + "".join(f"{number(value):>22}" for value in rmse))
    return rows


def number(value: float | None) -> str:
    """A number with one decimal, a dash where there is none."""
    return "–" if value is None else f"{value:.1f}"

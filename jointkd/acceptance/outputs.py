"""The files of an acceptance: the result as JSON, a page, a picture, and the values that it shows."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jointkd.acceptance.accept import Graded, as_json
from jointkd.acceptance.crystals import Crystal
from jointkd.acceptance.plots import plot
from jointkd.errors import ConfigError
from jointkd.files.atomic import write_whole
from jointkd.files.folders import as_folder
from jointkd.files.run_files import ACCEPTANCE

RESULT, PAGE, PICTURE, DATA = ACCEPTANCE, "acceptance.md", "acceptance.png", "acceptance_data.json"


def check_free(folder: Path, overwrite: bool) -> None:
    """Raise ConfigError where a folder is a file, or holds an acceptance that is not to be replaced."""
    as_folder(folder)
    for name in (RESULT, PAGE, PICTURE, DATA):
        if (folder / name).exists() and not overwrite:
            raise ConfigError(
                f"{folder / name} exists already", "give overwrite=true to replace it, or another directory=…"
            )


def write_results(folder: Path, graded: Graded, facts: Mapping[str, Any]) -> None:
    """Write all files, the result last."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / DATA, (json.dumps(data_of(graded)) + "\n").encode())
    plot(graded, folder / PICTURE)
    write_whole(folder / PAGE, page(graded, facts).encode())
    write_whole(folder / RESULT, (json.dumps(as_json(graded, facts), indent=2, ensure_ascii=False) + "\n").encode())


def page(graded: Graded, facts: Mapping[str, Any]) -> str:
    """The result as Markdown."""
    failed = sum(not gate.passed for gate in graded.gates)
    verdict = "passes all gates" if graded.passed else f"fails {failed} of {len(graded.gates)} gates"
    lines = [f"# The student {verdict}", "", f"{facts['student']}; {facts['structures']}; {facts['teacher']}.", ""]
    lines += ["| gate | | value | threshold | |", "|---|---|---|---|---|"]
    for gate in graded.gates:
        value = "not measured" if gate.value is None else f"{gate.value:.3g}"
        mark = "passed" if gate.passed else "**FAILED**"
        limit = f"{gate.relation} {gate.threshold:g} {gate.unit}".strip()
        lines.append(f"| {gate.name} | {mark} | {value} | {limit} | {gate.detail.replace('|', '/')} |")
    lines += ["", f"![Dimers, energies without a thermostat, stability, frequencies and the crystal]({PICTURE})", ""]
    return "\n".join(lines)


def data_of(graded: Graded) -> dict[str, Any]:
    """The values that the picture shows."""
    return {
        "dimers": {
            curve.pair: {"distance_A": rounded(curve.distances), "energy_eV": rounded(curve.energies)}
            for curve in graded.dimers.curves
        },
        "constant_energy": {
            "time_ps": rounded(graded.conservation.times),
            "change_of_total_energy_eV_per_atom": [rounded(each, 9) for each in graded.conservation.totals.T],
        },
        "stability": [
            {
                "gate": each.gate.name,
                "replicas": [
                    {
                        "structure": one.structure,
                        "time_ps": one.times,
                        "largest_bond_deviation_A": rounded(np.array(one.deviations)),
                        "broken": not one.alive,
                    }
                    for one in each.watched
                ],
            }
            for each in graded.trajectories
        ],
        "frequencies_per_cm": None
        if graded.teacher is None
        else {"student": rounded(graded.teacher.student, 2), "teacher": rounded(graded.teacher.teacher, 2)},
        "crystal": None if graded.crystal is None else crystal_data(graded.crystal),
    }


def crystal_data(crystal: Crystal) -> dict[str, Any]:
    """What was measured in a crystal; null for what was not."""
    return {
        "name": crystal.name,
        "equation_of_state": of_each(
            crystal.curves,
            lambda curve: {
                "volume_A3_per_atom": rounded(curve.volumes),
                "energy_eV_per_atom": rounded(curve.energies, 9),
            },
        ),
        "elastic_constants_GPa": of_each(crystal.constants, lambda constants: [rounded(row, 3) for row in constants]),
        "phonons_per_cm": of_each(crystal.frequencies, lambda modes: [rounded(each, 2) for each in modes]),
    }


def of_each(pair: tuple[Any, Any] | None, values: Callable[[Any], Any]) -> dict[str, Any] | None:
    """Values of the student and of the teacher; None where they were not measured."""
    return None if pair is None else {"student": values(pair[0]), "teacher": values(pair[1])}


def rounded(values: np.ndarray, digits: int = 6) -> list[float | None]:
    """Values as JSON has them; null for those that are not finite."""
    return [round(float(value), digits) if np.isfinite(value) else None for value in values]

"""The report on a data set: a page of text and a plot."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from jointkd.data.stored_neighbors import NeighborsOf
from jointkd.reports.dataset_findings import Findings, analyse
from jointkd.reports.dataset_plots import plot_findings
from jointkd.structures.frame import Frame

log = logging.getLogger(__name__)

MAX_PAIRS = 8  # pairs of elements whose distances are listed


def write_report(
    name: str,
    frames: Mapping[str, Sequence[Frame]],
    neighbors: NeighborsOf,
    cutoff: float,
    directory: Path,
    set_aside: Mapping[str, int] | None = None,
) -> None:
    """Write report.txt, report.png and report.csv to the directory, and log the text.

    frames: by split; cutoff: Å; set_aside: number of quarantined structures by reason.
    """
    findings = analyse(name, frames, neighbors, cutoff, set_aside)
    text = "\n".join(lines(findings))
    (directory / "report.txt").write_text(text + "\n", encoding="utf-8")
    plot_findings(findings, directory / "report.png")
    (directory / "report.csv").write_text(table(findings), encoding="utf-8")
    log.info("%s\nwritten to %s, report.png and report.csv", text, directory / "report.txt")


def table(findings: Findings) -> str:
    """A line for each structure, as CSV: what the plot shows of it."""
    columns: dict[str, Any] = {"split": findings.splits, "atoms": findings.sizes}
    if findings.energies is not None:
        columns["relative_energy_eV_per_atom"] = findings.energies
    if findings.forces is not None:
        columns |= {"rms_force_eV_per_A": findings.forces, "largest_force_eV_per_A": findings.largest}
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    texts = (",".join(f"{value:.6g}" if isinstance(value, float) else str(value) for value in row) for row in rows)
    return "\n".join([",".join(columns), *texts]) + "\n"


def lines(findings: Findings) -> Iterator[str]:
    """The text of the report, line by line."""
    counts = Counter(findings.splits.tolist())
    yield f"{findings.name}: {len(findings.sizes)} structures, {findings.sizes.sum()} atoms"
    yield "  split             " + ", ".join(f"{counts[split]} {split}" for split in ("train", "val", "test"))
    yield "  groups            " + groups(findings)
    yield f"  atoms             {spread(findings.sizes, '.0f')} per structure"
    yield "  elements          " + ", ".join(
        f"{chemical_symbols[z]} {100 * atoms / findings.sizes.sum():.3g} % (in {structures})"
        for z, (structures, atoms) in findings.elements.items()
    )
    if findings.energies is None:
        yield "  energies          none"
    else:
        yield f"  energies          {spread(findings.energies, '.3f')} eV/atom relative to a fit per element"
        yield "    the fit         " + ", ".join(f"{chemical_symbols[z]} {e:.3f}" for z, e in findings.fitted.items())
    if findings.forces is None or findings.largest is None:
        yield "  forces            none"
    else:
        yield f"  forces            {spread(findings.forces, '.3f')} eV/Å, root mean square per structure"
        yield f"    largest         {spread(findings.largest, '.3f')} eV/Å"
    yield f"  neighbours        {spread(findings.neighbors, '.0f')} per atom within {findings.cutoff:g} Å"
    yield "  nearest atoms     " + ", ".join(
        f"{pair} {distances.min():.2f}–{distances.max():.2f} Å"
        for pair, distances in list(findings.nearest.items())[:MAX_PAIRS]
    )
    if findings.sample_size < len(findings.sizes):
        yield f"    (neighbours and nearest atoms are those of a sample of {findings.sample_size} structures)"
    yield "  set aside" + (":" if findings.set_aside else "         nothing")
    for reason, count in findings.set_aside.items():
        yield f"    - {count} structures: {reason}"
    yield "  suspicious" + (":" if findings.suspicious else "        nothing")
    for line in findings.suspicious:
        yield f"    - {line}"


def groups(findings: Findings) -> str:
    """The number of groups, and how many of those in validation and test also occur in training."""
    if not findings.groups:
        return "none; data.group_key names the entry with the molecule or material of a structure"
    shared = [f"{100 * share:.0f} % of those of {split} also in train" for split, share in findings.shared.items()]
    return f"{findings.groups}; " + ", ".join(shared)


def spread(values: np.ndarray, format_spec: str) -> str:
    """Minimum, maximum and median of some values."""
    low, middle, high = (format(value, format_spec) for value in (values.min(), np.median(values), values.max()))
    return f"{low} to {high}, median {middle}"

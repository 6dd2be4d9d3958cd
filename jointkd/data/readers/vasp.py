"""Outputs of VASP: the ionic steps whose electronic steps stopped at NELM, before they converged."""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from jointkd.data.readers.text_files import open_text

UNCONVERGED = "its electronic steps stopped at NELM without convergence"
NELM = re.compile(r"\bNELM\s*=\s*(\d+)")
ITERATION = re.compile(r"\bIteration\s+(\d+)\(\s*(\d+)\)")
REACHED = "EDIFF is reached"


def unconverged_steps(file: Path, format: str) -> set[int]:
    """The ionic steps, counted from 0, that took as many electronic steps as NELM allows.

    format: ASE's name, `vasp-xml` or `vasp-out`; other formats do not tell, and have none.
    """
    if format == "vasp-xml":
        return set(unconverged_in_xml(file))
    return set(unconverged_in_outcar(file)) if format == "vasp-out" else set()


def unconverged_in_xml(file: Path) -> Iterator[int]:
    """Of a vasprun.xml, as far as it was written."""
    most = taken = step = 0
    with open_text(file, errors="replace") as stream:
        try:
            for _, element in ElementTree.iterparse(stream):
                if element.tag == "i" and element.get("name") == "NELM":
                    most = int(element.text or 0)
                elif element.tag == "scstep":
                    taken += 1
                elif element.tag == "calculation":
                    if 1 < most <= taken:
                        yield step
                    step, taken = step + 1, 0
                    element.clear()
        except ElementTree.ParseError:  # of a calculation that was killed
            return


def unconverged_in_outcar(file: Path) -> Iterator[int]:
    """Of an OUTCAR."""
    most: int | None = None
    taken: dict[int, int] = {}  # electronic steps by ionic step
    converged = set()
    with open_text(file, errors="replace") as lines:
        for line in lines:
            if found := ITERATION.search(line):
                ionic, electronic = map(int, found.groups())
                taken[ionic] = electronic
            elif REACHED in line and taken:
                converged.add(max(taken))
            elif most is None and (found := NELM.search(line)):
                most = int(found.group(1))
    for step, (ionic, electronic) in enumerate(sorted(taken.items())):
        if most is not None and 1 < most <= electronic and ionic not in converged:
            yield step

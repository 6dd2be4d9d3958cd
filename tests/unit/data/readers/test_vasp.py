"""Ionic steps of VASP whose electronic steps stopped at NELM are found in both kinds of output."""

import numpy as np
import pytest
from ase.build import bulk

from jointkd.data.readers.extxyz import read
from jointkd.data.readers.vasp import UNCONVERGED, unconverged_steps
from tests.vasp import outcar, vasprun

TAKEN = (4, 6, 3, 6, 5)  # electronic steps, of which NELM allows 6


def relaxation():
    return [(bulk("Cu", cubic=True), -14.0 - step, np.zeros((4, 3))) for step in range(len(TAKEN))]


def with_steps(path, repeated="<scstep>"):
    """A vasprun.xml with as many electronic steps in each ionic step as TAKEN says."""
    before, *steps = path.read_text().replace("</kpoints>", '</kpoints><i name="NELM">6</i>').split(repeated)
    counts = [(count - 1) * "<scstep></scstep>" for count in TAKEN]
    path.write_text(before + "".join(extra + repeated + step for extra, step in zip(counts, steps, strict=True)))
    return path


def test_steps_of_a_vasprun_that_stopped_at_nelm_are_set_aside(tmp_path):
    path = with_steps(vasprun(tmp_path / "vasprun.xml", relaxation()))
    assert unconverged_steps(path, "vasp-xml") == {1, 3}
    faults = [frame.fault for frame in read(str(path))[0]]
    assert faults == ["", UNCONVERGED, "", UNCONVERGED, ""]


def test_a_vasprun_that_was_killed_is_read_as_far_as_it_goes(tmp_path):
    path = with_steps(vasprun(tmp_path / "vasprun.xml", relaxation()))
    text = path.read_text()
    path.write_text(text[: text.rindex("<calculation>") + 60])
    assert [frame.fault for frame in read(str(path))[0]] == ["", UNCONVERGED, "", UNCONVERGED]


def test_steps_of_an_outcar_that_stopped_at_nelm_are_set_aside(tmp_path):
    path = outcar(tmp_path / "OUTCAR", relaxation())
    parts = path.read_text().split("      direct lattice vectors")
    log = [
        "\n".join(f" Iteration {ionic}({step:4d})" for step in range(1, count + 1))
        for ionic, count in enumerate(TAKEN, start=1)
    ]
    log[3] += "\n aborting loop because EDIFF is reached"
    path.write_text(
        "   NELM   =      6;   NELMIN=  2\n"
        + "".join(f"{before}\n{after}\n      direct lattice vectors" for before, after in zip(parts, log, strict=False))
        + parts[-1]
    )
    assert unconverged_steps(path, "vasp-out") == {1}


@pytest.mark.parametrize("format", ["extxyz", "vasp-xdatcar"])
def test_other_formats_do_not_tell(tmp_path, format):
    assert unconverged_steps(tmp_path / "missing", format) == set()

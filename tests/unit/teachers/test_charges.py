"""Structures whose files state a charge or a spin are labelled with them, or not at all."""

from dataclasses import replace

import numpy as np
import pytest
from ase.calculators.lj import LennardJones

from jointkd.errors import TeacherError
from jointkd.labelling.loop import label
from jointkd.labels.store import LabelStore
from jointkd.structures.frame import Frame
from jointkd.teachers.ase import from_calculator
from jointkd.teachers.charges import with_charge
from tests.teachers import IDENTITY, SETTINGS, NumberTeacher, frames_of, rows_of

HYDRONIUM = Frame(
    np.array([8, 1, 1, 1]),
    np.array([[0, 0, 0.07], [0.93, 0, -0.2], [-0.47, 0.81, -0.2], [-0.47, -0.81, -0.2]]),
    source="h3o.xyz, frame 0",
)
XTB = {"method": "GFN2-xTB", "verbosity": 0, "accuracy": 0.01}


def ion(**info: int) -> Frame:
    return replace(HYDRONIUM, info=info)


@pytest.mark.parametrize(
    "info", [{"charge": 1, "spin": 1}, {"total_charge": -1}, {"net_charge": 1}, {"charge": 0, "spin": 3}]
)
def test_a_teacher_without_charges_is_refused_before_labels_are_made(tmp_path, info):
    frames = [*frames_of(3), ion(**info)]
    store = LabelStore.create(tmp_path / "labels", IDENTITY, SETTINGS)
    with pytest.raises(TeacherError, match=r"takes no charge and no spin, but 1 of 4 structures .*h3o.xyz, frame 0"):
        label(frames, rows_of(frames), NumberTeacher(), store)
    assert not len(store)


@pytest.mark.parametrize("info", [{}, {"charge": 0, "spin": 1}, {"charge": 0.0}])
def test_neutral_singlets_are_labelled_by_every_teacher(tmp_path, info):
    frames = [ion(**info)]
    store = LabelStore.create(tmp_path / "labels", IDENTITY, SETTINGS)
    label(frames, rows_of(frames), NumberTeacher(), store)
    assert len(store) == 1


def test_a_calculator_that_uses_the_charge_labels_the_ion():
    tblite = pytest.importorskip("tblite.ase")
    teacher = from_calculator("tblite.ase.TBLite", "xtb", XTB)
    (labels,) = teacher.label([ion(charge=1, spin=1)], [np.array([0])])
    alone = with_charge(HYDRONIUM)
    alone.calc = tblite.TBLite(**XTB, charge=1, multiplicity=1)
    assert labels.energy == pytest.approx(alone.get_potential_energy(), abs=1e-6)
    np.testing.assert_allclose(labels.forces, alone.get_forces(), atol=1e-5)


def test_a_calculator_that_ignores_the_charge_is_refused():
    teacher = from_calculator(f"{LennardJones.__module__}.LennardJones", "lj", {"sigma": 0.9, "epsilon": 0.5})
    with pytest.raises(TeacherError, match="teacher lj takes no charge and no spin"):
        teacher.label([ion(charge=1)], [np.array([0])])

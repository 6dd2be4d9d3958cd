"""What stages hand to each other is a value: nobody can change it on the way."""

from dataclasses import FrozenInstanceError, is_dataclass

import pytest

from jointkd.data.alignment import Alignment
from jointkd.data.composition_fit import CompositionFit
from jointkd.data.references import References
from jointkd.data.splits import Split
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.simulation.stability import Event
from jointkd.structures.batch import MicroBatch, Structure
from jointkd.structures.frame import Frame
from jointkd.training.loss import SumCount

VALUES = [
    *(Alignment, CompositionFit, Event, Frame, MicroBatch, References, Split, Structure, SumCount),
    *(TeacherIdentity, TeacherLabels),
]


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_cannot_be_changed(kind):
    assert is_dataclass(kind)
    value = object.__new__(kind)
    with pytest.raises(FrozenInstanceError):
        value.energy = 1.0

"""A teacher in the place of a student: every structure is predicted, or set aside with a reason."""

from dataclasses import replace

import numpy as np
import torch

from jointkd.data.screening import Rejected, find_fault
from jointkd.errors import TeacherError
from jointkd.labelling import predictor
from jointkd.labelling.batching import NO_MEMORY
from jointkd.labelling.predictor import TeacherPredictor
from tests.teachers import NumberTeacher, frames_of

FRAMES = [frame for frame in frames_of(30) if find_fault(frame, np.inf) is None][:10]


class Choosy(NumberTeacher):
    """Refuses structures of two atoms, and has no memory for those of six."""

    def label(self, frames, directions):
        sizes = set(map(len, frames))
        if 2 in sizes:
            raise TeacherError("two atoms are no structure", "give more")
        if 6 in sizes:
            raise torch.OutOfMemoryError("too large")
        return super().label(frames, directions)


def reasons(outcomes) -> list[str | None]:
    return [each.reason if isinstance(each, Rejected) else None for each in outcomes]


def test_a_teacher_predicts_in_chunks_what_it_labels_in_the_order_of_the_structures(monkeypatch):
    monkeypatch.setattr(predictor, "CHUNK", 3)
    outcomes = list(TeacherPredictor(NumberTeacher())(iter(FRAMES)))
    labels = NumberTeacher().label(FRAMES, [np.zeros(0, int)] * len(FRAMES))
    for frame, outcome, label in zip(FRAMES, outcomes, labels, strict=True):
        assert outcome.frame is frame
        assert outcome.energy == label.energy
        np.testing.assert_array_equal(outcome.forces, label.forces)


def test_what_it_cannot_predict_is_set_aside_and_the_others_are_not():
    strange = replace(FRAMES[3], numbers=np.full(len(FRAMES[3]), 9))
    spoilt = NumberTeacher(spoilt=FRAMES[5].key)
    found = reasons(TeacherPredictor(spoilt)([*FRAMES[:3], strange, *FRAMES[4:]]))
    assert found == [None] * 3 + ["it does not know F", None, "its labels are not finite"] + [None] * 4


def test_structures_that_a_teacher_refuses_or_has_no_memory_for_do_not_end_the_others():
    expected = {2: "two atoms are no structure", 6: NO_MEMORY}
    found = reasons(TeacherPredictor(Choosy())(FRAMES))
    assert found == [expected.get(len(frame)) for frame in FRAMES]
    assert set(expected) < set(map(len, FRAMES))

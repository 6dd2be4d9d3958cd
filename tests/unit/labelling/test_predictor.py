"""A teacher in the place of a student: every structure is predicted, or set aside with a reason."""

import re
from dataclasses import replace

import numpy as np
import torch

from jointkd.data.screening import Rejected, find_fault
from jointkd.errors import TeacherError
from jointkd.labelling import predictor
from jointkd.labelling.batching import NO_MEMORY
from jointkd.labelling.predictor import TeacherPredictor
from jointkd.labels.directions import choose_rows
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


def test_hessian_rows_are_labelled_in_parts_that_fit_into_memory(monkeypatch, caplog):
    monkeypatch.setattr(predictor, "ENTRIES", 100)
    together = []
    labels_of = TeacherPredictor._labels
    monkeypatch.setattr(TeacherPredictor, "_labels", lambda self, some: together.append(some) or labels_of(self, some))
    with caplog.at_level("INFO"):
        outcomes = list(TeacherPredictor(NumberTeacher(), rows=4, seed=1)(FRAMES))
    assert len(caplog.messages) == 1
    assert re.search(
        rf"numbers takes about \S+ s for a structure with rows=4, as the first {len(together[0])}", caplog.text
    )
    assert 1 < len(together) < len(FRAMES)
    assert all(sum(12 * len(frame) for frame in some) <= 100 or len(some) == 1 for some in together)
    chosen = [choose_rows(frame.key, len(frame), 4, 1) for frame in FRAMES]
    for outcome, label in zip(outcomes, NumberTeacher().label(FRAMES, chosen), strict=True):
        np.testing.assert_array_equal(outcome.hessian_rows, label.hessian_rows)


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

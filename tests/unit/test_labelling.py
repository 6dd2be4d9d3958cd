import logging

import numpy as np
import pytest

from jointkd.errors import TeacherError
from jointkd.frame import Frame
from jointkd.labelling import batches, label
from jointkd.labels.store import LabelStore
from tests.teachers import IDENTITY, SETTINGS, NumberTeacher, calls_in, frames_of, rows_of

FRAMES = frames_of(20)


@pytest.fixture
def store(tmp_path):
    return LabelStore.create(tmp_path / "labels", IDENTITY, SETTINGS)


def test_every_structure_gets_its_labels_and_the_rows_chosen_for_it(store):
    label(FRAMES, rows_of(FRAMES), NumberTeacher(), store, shard_size=3)
    expected = NumberTeacher().label(FRAMES, list(rows_of(FRAMES).values()))
    assert store.keys() == {frame.key for frame in FRAMES}
    for frame, want in zip(FRAMES, expected, strict=True):
        found = store.read(frame.key)
        assert found.energy == want.energy
        np.testing.assert_array_equal(found.hessian_rows, want.hessian_rows)
        np.testing.assert_array_equal(found.row_ids, rows_of(FRAMES)[frame.key])


@pytest.mark.parametrize(("shard_size", "shards"), [(1, 20), (3, 7), (20, 1), (100, 1)])
def test_a_file_holds_as_many_structures_as_asked(store, shard_size, shards):
    label(FRAMES, rows_of(FRAMES), NumberTeacher(), store, shard_size)
    assert len(list((store.path / "shards").iterdir())) == shards


def test_what_is_labelled_is_not_labelled_again(store, tmp_path):
    teacher = NumberTeacher(calls=tmp_path / "calls")
    label(FRAMES[:7], rows_of(FRAMES), teacher, store, shard_size=3)
    label(FRAMES, rows_of(FRAMES), teacher, store, shard_size=3)
    label(FRAMES, rows_of(FRAMES), teacher, store, shard_size=5)
    assert sorted(calls_in(tmp_path / "calls")) == sorted(frame.key for frame in FRAMES)


def test_a_damaged_and_deleted_shard_alone_is_labelled_again(store, tmp_path):
    label(FRAMES, rows_of(FRAMES), NumberTeacher(), store, shard_size=3)
    whole = store.content_hash()
    next((store.path / "shards").iterdir()).unlink()
    again = LabelStore.open(store.path)
    label(FRAMES, rows_of(FRAMES), NumberTeacher(calls=tmp_path / "calls"), again, shard_size=3)
    assert 2 <= len(calls_in(tmp_path / "calls")) <= 3
    assert again.content_hash() == whole


def test_a_structure_without_finite_labels_fails_alone_with_a_reason_and_once(store, tmp_path, caplog):
    bad = FRAMES[4]
    teacher = NumberTeacher(calls=tmp_path / "calls", spoilt=bad.key)
    label(FRAMES, rows_of(FRAMES), teacher, store, shard_size=3)
    assert store.failed == {bad.key: "the teacher's labels are not finite"}
    assert store.keys() == {frame.key for frame in FRAMES} - {bad.key}
    assert any("frame 4" in record.message for record in caplog.records)
    label(FRAMES, rows_of(FRAMES), teacher, LabelStore.open(store.path), shard_size=3)
    assert calls_in(tmp_path / "calls").count(bad.key) == 1


def test_an_element_that_the_teacher_does_not_know_is_refused_before_any_work(store, tmp_path):
    strange = Frame(np.array([1, 53]), np.zeros((2, 3)), source="iodine.xyz, frame 7")
    with pytest.raises(TeacherError) as caught:
        label([*FRAMES, strange], rows_of([*FRAMES, strange]), NumberTeacher(calls=tmp_path / "calls"), store)
    assert "numbers does not know I (iodine.xyz, frame 7)" in caught.value.problem
    assert "it knows H C O" in caught.value.remedy
    assert not calls_in(tmp_path / "calls")
    assert not len(store)


def test_structures_are_batched_up_to_the_atoms_asked_for_in_order():
    grouped = list(batches(FRAMES, 10))
    assert [frame for batch in grouped for frame in batch] == FRAMES
    sizes = [sum(map(len, batch)) for batch in grouped]
    assert max(sizes) <= 10
    assert all(size + len(following[0]) > 10 for size, following in zip(sizes, grouped[1:], strict=False))


def test_a_structure_larger_than_a_batch_is_labelled_alone():
    large = Frame(np.ones(50, dtype=int), np.zeros((50, 3)))
    assert list(batches([FRAMES[0], large, FRAMES[1]], 10)) == [[FRAMES[0]], [large], [FRAMES[1]]]


def test_a_batch_log_gets_a_line_for_every_tenth(store, caplog):
    caplog.set_level(logging.INFO, "jointkd")
    label(FRAMES, rows_of(FRAMES), NumberTeacher(), store, shard_size=1)
    lines = [record.message for record in caplog.records]
    assert lines == [f"labels of numbers: {count} of 20 structures" for count in range(2, 21, 2)]

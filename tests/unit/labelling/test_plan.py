"""Which labels are made, and where: rows or probes; options out of range are refused by name."""

import pytest

from jointkd.errors import ConfigError, LabelMismatch
from jointkd.labelling.plan import LabelOptions, LabelPlace, LabelPlan
from jointkd.labels.directions import are_probes
from jointkd.labels.store import LabelStore
from jointkd.teachers.spec import TeacherSpec
from tests.teachers import IDENTITY, NumberTeacher, frames_of


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard_size": -1}, "label.shard_size=-1 must be a positive integer"),
        ({"shard_size": 0}, "label.shard_size=0 must be a positive integer"),
        ({"seed": -1}, "label.seed=-1 must be an integer from 0 to 4294967295"),
        ({"probes": -1}, "label.probes=-1 must be an integer of at least 0"),
        ({"probes": "all"}, "label.probes=all must be an integer of at least 0"),
        ({"probes": True}, "label.probes=True must be an integer of at least 0"),
        ({"rows": -1}, "label.rows=-1 must be a number of Hessian rows or all"),
        ({"eval_rows": 1.5}, "label.eval_rows=1.5 must be a number of Hessian rows or all"),
    ],
)
def test_an_option_that_means_nothing_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        LabelOptions(**options)


FRAMES = frames_of(12)
SPLITS = {"train": FRAMES[:6], "val": FRAMES[6:8], "test": FRAMES[8:]}
OTHER_SPLITS = {"train": FRAMES[6:], "val": FRAMES[4:6], "test": FRAMES[:4]}


def planned(path, splits=SPLITS, **options) -> LabelPlan:
    spec = TeacherSpec("tests.teachers.NumberTeacher", {"name": IDENTITY.name, "dtype": "float64"})
    return LabelPlan.of(LabelPlace(spec, LabelOptions(path=path, **options), "some"), splits, adopted=False)


def labelled(plan: LabelPlan) -> LabelPlan:
    """The same plan, with its labels made."""
    store = LabelStore.create(plan.path, IDENTITY, plan.options.settings)
    labels = NumberTeacher().label(list(plan.frames.values()), [plan.directions[key] for key in plan.frames])
    store.append(dict(zip(plan.frames, labels, strict=True)))
    return plan


def test_training_structures_have_probes_in_place_of_rows_and_test_structures_rows(tmp_path):
    plan = planned(str(tmp_path), probes=3, rows="all", eval_rows=2)
    shapes = {split: {plan.directions[frame.key].shape[:1] for frame in SPLITS[split]} for split in ("train", "test")}
    assert shapes == {"train": {(3,)}, "test": {(2,)}}
    assert all(are_probes(plan.directions[frame.key]) for frame in SPLITS["train"])
    assert not any(are_probes(plan.directions[frame.key]) for frame in SPLITS["test"])


def test_structures_with_more_probes_than_rows_are_counted(tmp_path):
    sizes = sorted(len(frame) for frame in SPLITS["train"])
    for probes, expected in ((3 * sizes[0] - 1, 0), (3 * sizes[0], sizes.count(sizes[0]))):
        assert planned(str(tmp_path), probes=probes).exhausted == expected


def test_probes_and_rows_have_different_folders_and_are_never_taken_for_each_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [planned(None, **options).path.name for options in ({"probes": 3}, {"rows": 3}, {})]
    assert folders == ["some-float64-3probes-4", "some-float64-3-4", "some-float64-all-4"]
    labelled(planned("labels", probes=3))
    assert planned("labels", probes=3).open_store() is not None
    for others, message in (
        ({"rows": 3}, "label.probes=3, label.rows=0, not label.probes=0, label.rows=3"),
        ({"probes": 4}, "label.probes=3, not label.probes=4"),
    ):
        with pytest.raises(LabelMismatch, match=message):
            planned("labels", **others).open_store()


@pytest.mark.parametrize(("test_rows", "fits"), [(2, False), (3, True)])
def test_in_another_division_rows_serve_as_probes_but_probes_not_as_rows(tmp_path, monkeypatch, test_rows, fits):
    monkeypatch.chdir(tmp_path)
    first = labelled(planned(None, {**SPLITS, "val": []}, probes=3, eval_rows=test_rows))
    trained_on_tested = {"train": SPLITS["test"], "val": [], "test": SPLITS["val"]}
    second = planned(None, trained_on_tested, probes=3, eval_rows=test_rows)
    assert (second.path == first.path) == fits
    assert planned(None, OTHER_SPLITS, probes=3, eval_rows=test_rows).path != first.path


def test_rows_that_a_test_needs_are_not_made_up_by_probes(tmp_path):
    labelled(planned(str(tmp_path), probes=3, eval_rows=3))
    with pytest.raises(LabelMismatch, match="4 structures have fewer Hessian rows or probes"):
        planned(str(tmp_path), OTHER_SPLITS, probes=3, eval_rows=3).open_store()

"""Structures without reference labels: refused, or completed by the teacher, and then for training only."""

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from jointkd.data.datamodule import DistillationData
from jointkd.data.options import FileData, ReaderData
from jointkd.data.readers import extxyz
from jointkd.data.references import choose_references
from jointkd.data.splits import Split
from jointkd.data.unlabelled import PARENT
from jointkd.errors import ConfigError, DataError
from jointkd.evaluation.teacher_errors import compare_sample
from jointkd.labels.records import TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.structures.columns import keys_of
from jointkd.structures.frame import Frame
from jointkd.training.loss import Energy, Forces
from tests.files import molecules, saved
from tests.structures import CUTOFF
from tests.teachers import IDENTITY, NumberTeacher, rows_of
from tests.toy import FREE, toy_frames, toy_module, toy_store, toy_trainer

SHIFT = {1: 0.3, 6: -1.2, 8: 2.5}  # eV: between the zero of a teacher and that of the data


def stripped(frame: Frame, energy: bool = True, forces: bool = True) -> Frame:
    """A frame without its energy or its forces, or without both."""
    return replace(frame, energy=None if energy else frame.energy, forces=None if forces else frame.forces)


def data_of(frames: list[Frame], **options) -> DistillationData:
    """The data module of frames, some of which lack labels."""
    given = {"name": "toy", "missing": "teacher", "split": Split(train=0.6, val=0.2, test=0.2), **options}
    data = DistillationData(ReaderData(read=lambda: (frames, FREE), **given))
    data.prepare_neighbors(CUTOFF, torch.float64)
    data.fit_references()
    return data


def half(frames: list[Frame]) -> list[Frame]:
    """Every second frame stripped: of both labels, of its energy or of its forces, in turn."""
    lacking = [(True, True), (True, False), (False, True)]
    return [stripped(frame, *lacking[n // 2 % 3]) if n % 2 else frame for n, frame in enumerate(frames)]


def joined(path: Path, frames: list[Frame], **options) -> DistillationData:
    """The data module of half-stripped toy frames, with toy labels of all."""
    data = data_of(half(frames), **options)
    data.join(toy_store(path / "labels", frames), train_rows=2, eval_rows=1)
    return data


def batches(data: DistillationData, split: str = "train"):
    """Each frame of a split with its structure as the loss gets it."""
    dataset = data._loader(split, shuffle=False).dataset
    return [(frame, dataset[0, index]) for index, frame in enumerate(data.frames[split])]


def exact_teacher(tmp_path: Path, atomic_energies: bool = True) -> tuple[list[Frame], LabelStore]:
    """Frames whose labels are those of a teacher but for the zero of energy, and the store of its labels."""
    geometries = [frame for frame in toy_frames(40) if set(frame.numbers.tolist()) <= set(SHIFT)]
    labels = NumberTeacher().label(geometries, list(rows_of(geometries).values()))
    frames = [
        replace(frame, energy=label.energy + sum(SHIFT[int(z)] for z in frame.numbers), forces=label.forces)
        for frame, label in zip(geometries, labels, strict=True)
    ]
    if not atomic_energies:
        labels = [replace(label, atomic_energies=np.zeros(0)) for label in labels]
    identity = replace(IDENTITY, atomic_energies=atomic_energies)
    store = LabelStore.create(tmp_path / f"exact-{atomic_energies}", identity, {"rows": 4})
    store.append({frame.key: label for frame, label in zip(frames, labels, strict=True)})
    return frames, store


def test_a_set_in_which_half_of_the_frames_lack_labels_trains(tmp_path):
    data, module = joined(tmp_path, toy_frames(), batch_size=4), toy_module()
    toy_trainer(tmp_path, 1).fit(module, datamodule=data)
    assert data.from_teacher == {"energies": 10, "forces": 10}
    assert all(torch.isfinite(parameter).all() for parameter in module.student.parameters())


def test_energy_and_force_terms_take_what_a_frame_lacks_from_the_teacher(tmp_path):
    data, module = joined(tmp_path, toy_frames()), toy_module()
    store, shift = data.teacher["train"].store, data.teacher["train"].alignment
    missing = 0
    for frame, structure in batches(data):
        labels = store.read(frame.key)
        relative = shift.targets(frame, labels).sum()
        if frame.energy is not None:
            relative = frame.energy - sum(FREE[int(z)] for z in frame.numbers)
        forces = labels.forces if frame.forces is None else frame.forces
        missing += frame.energy is None
        prediction = module.student(structure.positions, structure)
        prediction = prediction._replace(forces=torch.zeros(len(frame), 3, dtype=torch.float64))
        energy, force = Energy(5, "mae")(prediction, structure), Forces(100, "l2")(prediction, structure)
        predicted = prediction.atomic_energies.sum().item()
        assert energy.sum.item() == pytest.approx(abs(predicted - relative) / len(frame), abs=1e-9)
        assert force.sum.item() == pytest.approx(np.linalg.norm(forces, axis=1).sum(), abs=1e-9)
        assert (energy.count.item(), force.count.item()) == (1, len(frame))
    assert missing == 10


@pytest.mark.parametrize("atomic_energies", [True, False])
def test_what_an_exact_teacher_completes_equals_what_was_missing(tmp_path, atomic_energies):
    frames, store = exact_teacher(tmp_path, atomic_energies)
    expected = {}
    whole = data_of(frames, missing="refuse", max_force=np.inf)
    whole.join(store, train_rows=2, eval_rows=1)
    for split in ("train", "val", "test"):
        expected |= {frame.key: structure for frame, structure in batches(whole, split)}
    partly = data_of(half(frames), max_force=np.inf)
    partly.join(store, train_rows=2, eval_rows=1)
    completed = [(expected[frame.key], item) for frame, item in batches(partly) if frame.energy is None]
    assert len(completed) > 5
    for before, after in completed:
        torch.testing.assert_close(after.energy, before.energy, rtol=0, atol=1e-6)
        torch.testing.assert_close(after.forces, before.forces, rtol=0, atol=1e-6)
        assert (after.teacher_atomic_energies is not None) == atomic_energies


def test_validation_and_test_have_labelled_frames_only_divided_as_without_the_others(tmp_path):
    frames = half(toy_frames(60))
    data = data_of(frames)
    labelled = data_of(frames[::2], missing="refuse")
    for split in ("val", "test"):
        assert data.division[split] == labelled.division[split]
        assert all(frame.energy is not None and frame.forces is not None for frame in data.frames[split])
    assert set(data.division["train"]) == set(labelled.division["train"]) | {frame.key for frame in frames[1::2]}


def test_references_and_the_teachers_errors_are_those_of_reference_labels_alone(tmp_path):
    frames = toy_frames()
    data = joined(tmp_path, frames, reference_energies="fit")
    alone = [frame for frame in data.frames["train"] if frame.energy is not None]
    assert data.references == choose_references("fit", FREE, data.elements, alone)
    complete = [frame for frame in alone if frame.forces is not None]
    assert compare_sample(data, data.teacher["train"].store).structures == len(complete) < len(alone)


@pytest.mark.parametrize(
    ("changes", "split"),
    [
        ({"info": {PARENT: "the parent"}}, Split(train=0.6, val=0.2, test=0.2)),
        ({"group": "the group"}, Split(by="group", train=0.6, val=0.2, test=0.2)),
        ({"split": "val"}, Split(by="file")),
    ],
)
@pytest.mark.parametrize("tested", [True, False])
def test_frames_akin_to_validation_or_test_are_not_trained_on(tmp_path, caplog, changes, split, tested):
    assigned = ["train", "train", "train", "val", "test"]
    frames = [replace(f, group=f"group {n}", split=assigned[n % 5]) for n, f in enumerate(toy_frames(20))]
    division = data_of(frames, split=split).division
    relative = next(f for f in frames if f.key in division["test" if tested else "train"])
    own = {"info": {PARENT: relative.key}, "group": relative.group, "split": relative.split}
    extra = replace(toy_frames(21)[20], energy=None, forces=None, **{name: own[name] for name in changes})
    with caplog.at_level(logging.WARNING):
        data = data_of([*frames, extra], split=split)
    assert (extra.key in data.division["train"]) == (not tested)
    assert ("left out 1 structures without reference labels" in caplog.text) == tested
    assert {name: set(data.division[name]) for name in ("val", "test")} == {
        name: set(division[name]) for name in ("val", "test")
    }


def test_a_saved_split_is_repeated_and_more_frames_without_labels_join_training(tmp_path):
    frames = half(toy_frames(40))
    before = data_of(frames[:30])
    before.save_split(tmp_path)
    more = [frame for frame in frames[30:] if frame.energy is None]
    again = data_of([*frames[:30], *more], split=Split(path=str(tmp_path / "split.json")))
    assert set(again.division["train"]) == set(before.division["train"]) | {frame.key for frame in more}
    assert {s: again.division[s] for s in ("val", "test")} == {s: before.division[s] for s in ("val", "test")}


def test_frames_without_labels_are_refused_unless_the_teacher_may_complete_them(tmp_path):
    some = molecules(12)
    del some[5].info["REF_energy"]
    path = saved(tmp_path / "partly.xyz", some)
    keys = {"name": "partly", "path": str(path), "energy_key": "REF_energy", "forces_key": "REF_forces"}
    with pytest.raises(DataError, match=r"partly.xyz frame 5 has no energy under .*data.missing=teacher"):
        list(FileData(**keys).reader()()[0])
    frames = list(FileData(**keys, missing="teacher").reader()()[0])
    assert [frame.energy is None for frame in frames] == [number == 5 for number in range(12)]
    assert FileData(**keys).reader().keywords == {}  # prepared sets keep their names
    with pytest.raises(DataError, match=r"10 of the 20 structures of data=toy have no reference energy, and 10 no"):
        data_of([stripped(f) if n % 2 else f for n, f in enumerate(toy_frames(20))], missing="refuse")
    splits = {"train": str(path), "test": str(path)}
    read = FileData(**{**keys, "path": None}, **splits, missing="teacher").reader()
    assert read.func is extxyz.read_splits
    assert len(list(read()[0])) == 24


@pytest.mark.parametrize("options", [{}, {"missing": "teacher"}, {"reference": "teacher"}])
def test_files_without_labels_are_for_training_alone_whatever_the_data_and_their_subset(tmp_path, options):
    frames, subset = toy_frames(30), partial(filter, lambda frame: frame.energy is not None)
    alone = data_of(frames, **{"missing": "refuse", **options})
    new = [frame.to_ase() for frame in toy_frames(34)[30:]]
    new[3].info[PARENT] = alone.division["test"][0]
    files = [str(saved(tmp_path / "a.xyz", new[:1])), str(saved(tmp_path / "b.xyz", new[1:]))]
    data = data_of(frames, **{"missing": "refuse", "subset": subset, "unlabelled": files, **options})
    assert {split: data.division[split] for split in ("val", "test")} == {
        split: alone.division[split] for split in ("val", "test")
    }
    added = [frame for frame in data.frames["train"] if frame.key not in set(alone.division["train"])]
    assert len(added) == 3  # without the one that was made from a test structure
    np.testing.assert_allclose(added[0].positions, new[0].positions, atol=1e-7)
    one = data_of(frames, **{"missing": "refuse", "unlabelled": files[0], **options})
    assert len(one.division["train"]) == len(alone.division["train"]) + 1


def test_files_without_labels_excuse_no_other_structure(tmp_path):
    path = str(saved(tmp_path / "a.xyz", [toy_frames(21)[20].to_ase()]))
    with pytest.raises(DataError, match=r"10 of the 20 structures of data=toy have no reference energy"):
        data_of([stripped(f) if n % 2 else f for n, f in enumerate(toy_frames(20))], missing="refuse", unlabelled=path)


def test_files_without_labels_are_in_angstrom_and_their_change_gives_another_set(tmp_path):
    some = molecules(20)
    for atoms in some:
        atoms.positions /= 0.529177
    keys = {"energy_key": "REF_energy", "forces_key": "REF_forces", "units": {"energy": "eV", "length": "bohr"}}
    mine = FileData(name="mine", path=str(saved(tmp_path / "mine.xyz", some)), prepared=str(tmp_path / "sets"), **keys)
    new = saved(tmp_path / "new.xyz", molecules(1, seed=1))
    both = DistillationData(replace(mine, unlabelled=[str(new)]))
    (added,) = (frame for frame in both.frames["train"] if frame.energy is None)
    np.testing.assert_allclose(added.positions, molecules(1, seed=1)[0].positions, atol=1e-7)
    alone = DistillationData(mine)
    assert alone.source.path != both.source.path == DistillationData(replace(mine, unlabelled=str(new))).source.path
    saved(new, molecules(2, seed=1))
    assert len(DistillationData(replace(mine, unlabelled=[str(new)])).division["train"]) == 18
    one_set = replace(mine, prepared=str(alone.source.path), unlabelled=[str(new)])
    with pytest.raises(ConfigError, match=r"was made with .*data.unlabelled=\[\].*data.unlabelled=\['new.xyz'\]"):
        DistillationData(one_set)


def test_choices_that_contradict_each_other_are_refused():
    stress = {"kind": "stress", "positive": "tension", "order": None, "unit": "GPa"}
    with pytest.raises(ConfigError, match=r"data.stress_key=stress is not used with data.unlabelled"):
        FileData(name="x", path="x.xyz", stress_key="stress", stress=stress, unlabelled="new.xyz")
    with pytest.raises(ConfigError, match=r"data.unlabelled=\[3\] must be a file, or a list of files"):
        FileData(name="x", path="x.xyz", unlabelled=[3])
    with pytest.raises(ConfigError, match=r"data.missing='guess' is not known; choose refuse or teacher"):
        FileData(name="x", path="x.xyz", missing="guess")
    with pytest.raises(ConfigError, match=r"data.missing=teacher completes .* data.reference=teacher takes none"):
        FileData(name="x", path="x.xyz", missing="teacher", reference="teacher")


def test_without_any_labelled_frame_there_is_nothing_to_validate_on():
    with pytest.raises(DataError, match=r"none of the 9 structures has both .*data.reference=teacher"):
        data_of([stripped(frame) for frame in toy_frames(9)])


def test_an_element_without_any_reference_energy_cannot_be_aligned(tmp_path):
    frames, labelled = toy_frames(), [frame for frame in toy_frames() if 7 not in frame.numbers]
    nitrogen = [stripped(frame) for frame in frames if 7 in frame.numbers]
    data = data_of([*labelled, *nitrogen])
    with pytest.raises(DataError, match=r"N occurs only in training structures without reference energy"):
        data.join(toy_store(tmp_path / "labels", frames), train_rows=2, eval_rows=1)


def test_compositions_that_no_reference_energy_determines_are_counted_in_a_warning(tmp_path, caplog):
    frames = toy_frames(45)
    waters = [frame for frame in frames if len(frame) == 3]
    rest = [stripped(frame) for frame in frames if set(frame.numbers.tolist()) == {1, 6, 8}]
    carbon = replace(waters[0], numbers=np.array([6, 6, 1]), energy=sum(FREE[z] for z in (6, 6, 1)) - 12.0)
    labelled = [*waters, *(replace(carbon, positions=w.positions) for w in waters)]
    with caplog.at_level(logging.WARNING):
        data = data_of([*labelled, *rest])
        data.join(toy_store(tmp_path / "labels", [*labelled, *rest]), train_rows=2, eval_rows=1)
    assert f"{len(rest)} structures without reference energy have compositions" in caplog.text


def test_frames_on_which_the_teachers_forces_are_absurd_are_left_out(tmp_path, caplog):
    frames = toy_frames()
    data = data_of(half(frames))
    store = toy_store(tmp_path / "labels", frames)
    bad = next(frame.key for frame in data.frames["train"] if frame.forces is None)
    labels = {key: store.read(key) for key in store.keys()}  # noqa: SIM118
    labels[bad] = spoilt(labels[bad], 51.0)
    given = next(frame.key for frame in data.frames["train"] if frame.forces is not None)
    labels[given] = spoilt(labels[given], 51.0)
    again = LabelStore.create(tmp_path / "again", store.teacher, store.settings)
    again.append(labels)
    before = len(data.frames["train"])
    data.join(again, train_rows=2, eval_rows=1)
    assert bad not in keys_of(data.frames["train"])
    assert given in keys_of(data.frames["train"])
    assert len(data.frames["train"]) == before - 1
    assert "left out 1 structures whose teacher's forces exceed data.max_force=50" in caplog.text


def spoilt(labels: TeacherLabels, force: float) -> TeacherLabels:
    """Labels with one absurd component of the forces, in eV/Å."""
    forces = labels.forces.copy()
    forces[0, 0] = force
    return replace(labels, forces=forces)

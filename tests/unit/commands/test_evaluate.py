"""A run is tested again from plain data: wherever its folder is, without its teacher or code that it names."""

import json
import os
import pickle
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase.io import read, write

from jointkd.api import evaluate
from jointkd.commands.run_record import RunRecord
from jointkd.commands.run_sources import data_of
from jointkd.data.options import FileData
from jointkd.errors import DataError, LabelMismatch
from jointkd.labels.directions import draw_probes
from jointkd.labels.store import LabelStore
from jointkd.structures.frame import Frame
from jointkd.students.painn import PaiNN

MADE = Path(__file__).parents[2] / "fixtures" / "made_by_0_1"
ANSWERS = json.loads((MADE / "answers.json").read_text())["evaluated"]["best"]
(RUN,) = (path.parent for path in MADE.glob("outputs/*/*/summary.json"))
(LABELS,) = (path.parent for path in MADE.glob("outputs/labels/*/*/manifest.json"))
(SET,) = (path.parent for path in MADE.glob("outputs/data/*/manifest.json"))
OF_REFERENCE = {name: value for name, value in ANSWERS.items() if name.startswith(("energy", "force"))}


def of_then(metrics: dict[str, float]) -> dict[str, float]:
    """Metrics without that which version 0.1 had not."""
    return {name: value for name, value in metrics.items() if name != "energy_mae_meV"}


class OwnPaiNN(PaiNN):
    """A student of the user's own class."""


class OwnData(FileData):
    """A data set of the user's own class."""


class Code:
    """What a pickle can do as it is loaded."""

    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """The folder of a run alone, on a machine without mace-torch."""
    for package in ("mace", "mace.calculators"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(RUN, tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(MADE / "molecules.xyz", tmp_path / "elsewhere")
    return tmp_path / "run"


def change(run: Path, **groups) -> None:
    """Change entries of the groups of a run's configuration."""
    file = run / "config.yaml"
    config = yaml.safe_load(file.read_text())
    for group, entries in groups.items():
        config[group] |= entries
    file.write_text(yaml.safe_dump(config))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def printed(text: str) -> dict[str, float]:
    lines = (line.split() for line in text.splitlines())
    return {words[0]: float(words[1]) for words in lines if len(words) == 2 and "_mae_" in words[0]}


def test_a_run_that_moved_alone_names_the_data_that_it_needs(command, run):
    result = command("evaluate", "run=run")
    assert result.status == 1
    assert result.err.startswith("DataError: data.path=molecules.xyz of the run is neither here, nor in run, nor in a")
    assert "give data.path=PATH where it is now, or data.prepared=FOLDER" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("place", ["data.path=elsewhere/molecules.xyz", f"data.prepared={SET}"])
def test_a_run_that_moved_is_tested_on_its_data_without_labels_or_teacher(command, run, tmp_path, place):
    before = contents(tmp_path)
    result = command("evaluate", "run=run", place)
    assert result.status == 0, result.err
    assert of_then(printed(result.out)) == pytest.approx(OF_REFERENCE, rel=1e-4, abs=1.1e-3)
    assert "Hessian rows and atomic energies are not evaluated: outputs/labels/mace has no labels of mace" in result.out
    assert contents(tmp_path) == before


def test_labels_that_are_named_are_used_from_wherever_they_are(command, run, tmp_path):
    result = command("evaluate", "run=run", "data.path=elsewhere/molecules.xyz", f"label.path={LABELS}")
    assert result.status == 0, result.err
    assert of_then(printed(result.out)) == pytest.approx(ANSWERS, rel=1e-4, abs=1.1e-3)
    wrong = command("evaluate", "run=run", "data.path=elsewhere/molecules.xyz", "label.path=elsewhere")
    assert wrong.err.startswith("LabelMismatch: elsewhere has no labels of mace for the test split; make them with")


def test_labels_of_another_division_with_probes_of_test_structures_are_passed_over(run, tmp_path):
    shutil.copy(MADE / "molecules.xyz", tmp_path)
    places = tmp_path / "outputs" / "labels" / LABELS.parent.name
    shutil.copytree(LABELS, places / LABELS.name)
    old = LabelStore.open(LABELS, read_only=True)
    probed = LabelStore.create(places / "molecules-float64-2probes-2", old.teacher, {"rows": 0, "probes": 2})
    labels = {key: old.read(key) for key in sorted(old.keys())}
    for key, label in labels.items():
        probes = draw_probes(key, len(label.forces), 2, seed=0)
        labels[key] = replace(label, hessian_rows=np.zeros(probes.shape), directions=probes)
    probed.append(labels)
    first, _ = sorted(places.iterdir())
    assert first == probed.path  # it would be taken first
    assert of_then(evaluate(run)) == pytest.approx(ANSWERS, rel=1e-4, abs=1.1e-3)


def test_a_run_whose_reference_is_the_teacher_needs_its_labels(run):
    change(run, data={"reference": "teacher"})
    places = {"data.path": "elsewhere/molecules.xyz"}
    with pytest.raises(LabelMismatch, match=r"outputs/labels/mace has no labels of mace for the test split; make them"):
        evaluate(run, options=places)
    metrics = evaluate(run, options={**places, "label.path": str(LABELS)})
    assert of_then(metrics).keys() == ANSWERS.keys()
    assert metrics["hessian_row_mae_eV_per_A2"] == pytest.approx(ANSWERS["hessian_row_mae_eV_per_A2"], abs=1e-3)
    assert metrics["force_mae_meV_per_A"] != pytest.approx(ANSWERS["force_mae_meV_per_A"], rel=1e-3)


@pytest.mark.parametrize("place", ["run", "."])
def test_data_that_moved_with_the_run_are_found_in_its_folder_or_above_it(command, run, tmp_path, monkeypatch, place):
    shutil.copy(MADE / "molecules.xyz", tmp_path / place)
    (tmp_path / "work").mkdir()
    assert evaluate(run)["force_mae_meV_per_A"] == pytest.approx(ANSWERS["force_mae_meV_per_A"], rel=1e-4)
    monkeypatch.chdir(tmp_path / "work")
    assert evaluate("../run")["force_mae_meV_per_A"] == pytest.approx(ANSWERS["force_mae_meV_per_A"], rel=1e-4)


def test_a_run_whose_split_was_that_of_its_file_is_tested_again(run):
    change(run, data={"split_key": "molecule", "split": {"_target_": "jointkd.data.splits.Split", "by": "file"}})
    metrics = evaluate(run, options={"data.path": "elsewhere/molecules.xyz"})
    assert metrics["force_mae_meV_per_A"] == pytest.approx(ANSWERS["force_mae_meV_per_A"], rel=1e-4)


def test_training_structures_that_the_teacher_completed_do_not_change_the_test(run, tmp_path):
    keys = json.loads((run / "split.json").read_text())["keys"]
    structures = read(tmp_path / "elsewhere" / "molecules.xyz", ":")
    for structure in structures:
        if Frame(structure.numbers, structure.positions).key in keys["train"][:3]:
            structure.calc = None
    write(tmp_path / "partly.xyz", structures)
    change(run, data={"missing": "teacher"})
    metrics = evaluate(run, options={"data.path": "partly.xyz", "label.path": str(LABELS)})
    assert metrics["force_mae_meV_per_A"] == pytest.approx(ANSWERS["force_mae_meV_per_A"], rel=1e-4)
    assert metrics["atomic_energy_mae_meV"] == pytest.approx(ANSWERS["atomic_energy_mae_meV"], rel=0.2)


def test_other_data_than_the_runs_are_refused(run, tmp_path):
    lines = (tmp_path / "elsewhere" / "molecules.xyz").read_text().splitlines(keepends=True)
    (tmp_path / "few.xyz").write_text("".join(lines[: int(lines[0]) + 2]))
    with pytest.raises(DataError, match="4 of 4 structures of the run's split are not in"):
        evaluate(run, options={"data.path": "few.xyz"})
    with pytest.raises(DataError, match=r"data\.prepared=elsewhere has no set with the 4 structures of the run's test"):
        evaluate(run, options={"data.prepared": "elsewhere"})


LOADS = {"_target_": "torch.load", "f": "evil.pkl", "weights_only": False}
HOSTILE = {
    "data": {"data": LOADS},
    "a part of the data": {"data": {"subset": LOADS}},
    "an argument of the data": {"data": {"units": {"energy": LOADS}}},
    "numpy's pickles": {"data": {"subset": {"_target_": "numpy.load", "file": "evil.pkl", "allow_pickle": True}}},
    "our own pickles": {"data": {"subset": {"_target_": "jointkd.teachers.mace.load_pickle", "path": "evil.pkl"}}},
    "the student": {"student": {"_target_": "os.system", "command": "touch ran"}},
    "an argument of the student": {"student": {"width": LOADS}},
}


@pytest.mark.parametrize("groups", HOSTILE.values(), ids=HOSTILE)
def test_what_a_runs_configuration_names_is_not_built(run, tmp_path, groups):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Code()))
    change(run, **groups)
    with pytest.raises(DataError, match=r"config\.yaml: (data|student).* names "):
        evaluate(run, options={"data.path": "elsewhere/molecules.xyz"})
    assert not (tmp_path / "ran").exists()


def test_teacher_trainer_and_callbacks_of_a_run_are_not_built_and_its_places_not_written(run, tmp_path):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Code()))
    places = {"prepared": str(tmp_path / "there"), "name": "../../there", "report": True}
    loads = {name: dict(LOADS) for name in ("teacher", "trainer", "callbacks", "logger", "method")}
    change(run, **loads, data=places)
    before = contents(tmp_path)
    metrics = evaluate(run, options={"data.path": "elsewhere/molecules.xyz"})
    assert of_then(metrics) == pytest.approx(OF_REFERENCE, rel=1e-4)
    assert contents(tmp_path) == before


def test_a_checkpoint_that_is_a_pickle_with_code_is_refused(run, tmp_path):
    torch.save({"state_dict": Code()}, run / "checkpoints" / "best.ckpt")
    with pytest.raises(DataError, match=r"best\.ckpt is not a checkpoint of plain weights"):
        evaluate(run, options={"data.path": "elsewhere/molecules.xyz"})
    assert not (tmp_path / "ran").exists()


def test_a_run_of_published_data_downloads_nothing_on_its_own(run, monkeypatch):
    monkeypatch.setattr("jointkd.data.published.fetch", lambda *_: pytest.fail("a download"))
    files = {"data": {"name": "a.xyz", "url": "http://127.0.0.1/a.xyz", "sha256": None}}
    source = {"source": None, "downloads": "downloads", "doi": "10.1/a", "licence": "MIT", "amin2025": None}
    file = run / "config.yaml"
    config = yaml.safe_load(file.read_text())
    shared = {name: config["data"][name] for name in ("name", "split", "subset", "reference", "prepared", "max_force")}
    config["data"] = {"_target_": "jointkd.data.published.PublishedData", "format": "spice", "files": files}
    config["data"] |= source | shared
    for place in (None, "http://127.0.0.1"):
        config["data"]["source"] = place
        file.write_text(yaml.safe_dump(config))
        with pytest.raises(DataError, match=r"the files of data=molecules are not in downloads; give data\.source="):
            evaluate(run)


def test_classes_of_the_users_own_are_built_where_they_are_trusted(run):
    student, data = f"{__name__}.OwnPaiNN", f"{__name__}.OwnData"
    change(run, student={"_target_": student}, data={"_target_": data})
    places = {"data.path": "elsewhere/molecules.xyz"}
    with pytest.raises(DataError, match=f"add trust={student} "):
        evaluate(run, options=places)
    with pytest.raises(DataError, match=f"add trust={data} "):
        evaluate(run, options={**places, "trust": student})
    metrics = evaluate(run, options={**places, "trust": [student, data]})
    assert of_then(metrics) == pytest.approx(OF_REFERENCE, rel=1e-4)


BOMB = "a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize("content", [BOMB, "a: [", "a", "{}", "a: " + 600_000 * "[]", 20_000 * "["])
def test_a_configuration_that_is_none_is_refused(run, content):
    (run / "config.yaml").write_text(content)
    with pytest.raises(DataError, match=r"config\.yaml is missing or damaged"):
        evaluate(run)


@pytest.mark.parametrize("name", ["split.json", "provenance.json"])
@pytest.mark.parametrize("content", ["", "[]", '{"keys": 1, "teacher": 1}'])
def test_a_damaged_record_is_named(run, name, content):
    (run / name).write_text(content)
    with pytest.raises(DataError, match=f"{name} is missing or damaged"):
        evaluate(run)


def test_data_whose_file_states_the_splits_are_read_as_in_training(run):
    split = {"_target_": "jointkd.data.splits.Split", "by": "file", "train": 0.8, "path": "gone.json"}
    change(run, data={"split_key": "split", "split": split})
    options = data_of(RunRecord.read(run), {"path": "elsewhere/molecules.xyz"}, None)
    assert (options.split_key, options.division.by, options.division.path) == ("split", "file", None)

"""What an earlier version left on the disk is used as it is: sets, labels, runs, checkpoints and students."""

import csv
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read

from jointkd.calculator import JointKD
from jointkd.data import provenance
from jointkd.files.foreign_loads import VARIABLE

READERS = provenance.READERS  # of now
MADE = Path(__file__).parents[1] / "fixtures" / "made_by_0_1"
MODIFIED = 1_700_000_000  # s: when molecules.xyz was written, which git does not keep
ANSWERS = json.loads((MADE / "answers.json").read_text())
(SET,) = (path.parent.relative_to(MADE) for path in MADE.glob("outputs/data/*/manifest.json"))
(LABELS,) = (path.parent.relative_to(MADE) for path in MADE.glob("outputs/labels/*/*/manifest.json"))
(RUN,) = (path.parent.relative_to(MADE) for path in MADE.glob("outputs/*/*/summary.json"))

OPTIONS = (  # as in make.sh
    *("data=extxyz", "data.path=molecules.xyz", "data.group_key=molecule"),
    *("data.split.train=0.6", "data.split.val=0.2", "data.split.test=0.2"),
    *("teacher=mace", "teacher.checkpoint=teacher", "label.rows=4", "label.eval_rows=2", "label.validation=true"),
    *("label.shard_size=4", "method=joint", "student.width=8", "student.radial=5", "student.cutoff=4"),
    *("student.elements=10", "trainer.accelerator=cpu", "callbacks.ema.decay=0.5", "optimizer.lr=0.02"),
)
PAINN = ("student=painn", "student.layers=1", "student.conservative=true")
PAPER = (
    *("preset=paper", "data.max_force=50.0", "callbacks.halving.within=1000", "callbacks.halving.every=1"),
    *("student=painn", "student.layers=1"),
)
GEMNET = ("student.blocks=1", "student.spherical=3")
STUDENTS = list(ANSWERS["students"])


@pytest.fixture(autouse=True)
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of everything where commands are called, with the data file and the version of the readers of then."""
    monkeypatch.setattr(provenance, "READERS", 1)
    shutil.copytree(MADE, tmp_path, dirs_exist_ok=True)
    os.utime(tmp_path / "molecules.xyz", (MODIFIED, MODIFIED))
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def printed(text: str) -> dict[str, float]:
    """The metrics that a command printed, without that which version 0.1 had not."""
    lines = (line.split() for line in text.splitlines())
    metrics = {words[0]: float(words[1]) for words in lines if len(words) == 2 and "_mae_" in words[0]}
    return {name: value for name, value in metrics.items() if name != "energy_mae_meV"}


def structures() -> list[Atoms]:
    return [Atoms(**given) for given in ANSWERS["structures"]]


def check_answers(student: Path, expected: list[dict[str, Any]]) -> None:
    """That a student says of the structures what it said when it was made."""
    for atoms, said in zip(structures(), expected, strict=True):
        atoms.calc = JointKD(student, dtype="float64")
        assert atoms.get_potential_energy() == pytest.approx(said["energy"], abs=1e-9, rel=0)
        free = np.array([atoms.calc.references[z] for z in atoms.numbers.tolist()])  # which version 0.1 left out
        np.testing.assert_allclose(atoms.get_potential_energies() - free, said["energies"], rtol=0, atol=1e-9)
        np.testing.assert_allclose(atoms.get_forces(), said["forces"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("capped", ["null", "50"])
def test_a_prepared_set_and_its_neighbours_are_found_by_the_options_they_were_made_with(command, made, capped):
    before = contents(made / "outputs" / "data")
    result = command("prepare", *OPTIONS, *PAINN, f"student.max_neighbors={capped}")
    assert result.status == 0, result.err
    assert f"prepared: {SET};" in result.out
    assert "data molecules: 20 structures" in result.out
    assert "quarantined 1 structures: a force is larger" in result.out
    assert "reference energies in eV (isolated atoms of the data): H -13.000" in result.out
    assert contents(made / "outputs" / "data") == before


def test_a_prepared_set_that_is_named_is_used_wherever_it_is_and_without_its_file(command, made):
    (made / SET).rename(made / "elsewhere")
    before = contents(made / "elsewhere")
    options = (*OPTIONS, *PAINN, "data.prepared=elsewhere")
    os.utime(made / "molecules.xyz")
    with_file = command("prepare", *options)
    assert with_file.status == 0, with_file.err
    (made / "molecules.xyz").unlink()
    without = command("prepare", *options)
    assert without.status == 0, without.err
    assert "prepared: elsewhere;" in with_file.out
    assert "prepared: elsewhere;" in without.out
    assert contents(made / "elsewhere") == before
    assert not list((made / "outputs" / "data").iterdir())


def test_a_prepared_set_that_is_named_is_refused_for_what_differs_and_nothing_else(command):
    result = command("prepare", *OPTIONS, *PAINN, f"data.prepared={SET}", "data.max_force=5.0")
    assert result.status == 1
    different = "was made with data.max_force=50.0, but the options are data.max_force=5.0;"
    assert result.err.startswith(f"ConfigError: data.prepared={SET} {different}")


def test_a_set_of_readers_that_have_been_corrected_since_is_prepared_again_and_that_is_said(command, monkeypatch):
    monkeypatch.setattr(provenance, "READERS", READERS)
    result = command("prepare", *OPTIONS, *PAINN)
    assert result.status == 0, result.err
    assert f"jointkd's readers changed since {SET} was prepared; preparing again" in result.out
    assert "data molecules: 20 structures" in result.out


def test_a_file_that_changed_since_it_was_prepared_is_prepared_again_and_that_is_said(command, made):
    os.utime(made / "molecules.xyz", (MODIFIED + 1, MODIFIED + 1))
    result = command("prepare", *OPTIONS, *PAINN)
    assert result.status == 0, result.err
    assert f"molecules.xyz changed since {SET} was prepared; preparing again" in result.out
    assert len(list((made / "outputs" / "data").glob("molecules-*"))) == 2


def test_the_split_of_a_run_can_be_given_back(command, made):
    file = RUN / "split.json"
    result = command("prepare", *OPTIONS, *PAINN, f"data.split.path={file}", "data.split.seed=5", "hydra.run.dir=new")
    assert result.status == 0, result.err
    now, before = (json.loads((made / path).read_text()) for path in ("new/split.json", file))
    assert (now["keys"], now["sha256"]) == (before["keys"], before["sha256"])


def test_labels_are_found_by_the_options_they_were_made_with_and_no_teacher_is_loaded(command, made):
    before = contents(made / LABELS)
    count = len(list((made / LABELS / "shards").iterdir()))
    told = command("label", *OPTIONS, *PAINN, "label.status=true")
    assert told.status == 0, told.err
    assert "labels of mace: 20 done, 0 left, 0 failed" in told.out
    done = command("label", *OPTIONS, *PAINN)  # compares the checksum of the teacher that is there
    shutil.rmtree(made / "teacher")
    without = command("label", *OPTIONS, *PAINN)  # nothing that could be loaded
    for result in (done, without):
        assert result.status == 0, result.err
        assert f"20 structures are labelled, 0 failed: {LABELS}" in result.out
        assert "licence" not in result.out  # which a teacher that is loaded is introduced with
    whole = command("label", *OPTIONS, *PAINN, "label.verify=true")
    assert whole.status == 0, whole.err
    assert f"{count} files with 20 structures are whole: {LABELS}" in whole.out
    assert contents(made / LABELS) == before


def test_labels_are_still_those_of_their_teacher_and_of_no_other(command, made):
    weights = made / "teacher" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    result = command("label", *OPTIONS, *PAINN)
    assert result.status == 1
    assert result.err.startswith(f"LabelMismatch: the labels in {LABELS} were made with checkpoint=")


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_a_run_is_tested_again_with_the_metrics_it_had(command, made, checkpoint):
    before = contents(made / "outputs")
    result = command("evaluate", f"run={RUN}", f"checkpoint={checkpoint}")
    assert result.status == 0, result.err
    expected = ANSWERS["evaluated"][checkpoint]
    assert printed(result.out) == pytest.approx(expected, rel=1e-4, abs=1.1e-3)  # three decimals are printed
    if checkpoint == "best":
        summary = json.loads((made / RUN / "summary.json").read_text())
        assert printed(result.out) == pytest.approx(summary["test"], rel=1e-4, abs=1.1e-3)
    assert contents(made / "outputs") == before


def test_labels_that_a_run_lacks_are_named_and_not_made(command, made):
    shutil.rmtree(made / LABELS / "shards")
    (made / LABELS / "shards").mkdir()
    before = contents(made)
    result = command("evaluate", f"run={RUN}")
    assert result.status == 0, result.err
    told = (
        f"Hessian rows and atomic energies are not evaluated: 4 of 4 test structures have no labels in {made / LABELS};"
    )
    assert told in result.out
    expected = ANSWERS["evaluated"]["best"]
    left = {name: value for name, value in expected.items() if name.startswith(("energy", "force"))}
    assert printed(result.out) == pytest.approx(left, rel=1e-4, abs=1.1e-3)
    assert contents(made) == before


def test_a_report_reads_a_run(command, made):
    result = command("report", f"runs={RUN.parent}")
    assert result.status == 0, result.err
    expected = json.loads((made / RUN / "summary.json").read_text())["test"]
    reported = json.loads((made / RUN.parent / "comparison.json").read_text())
    assert {name: value["mean"] for name, value in reported["methods"]["joint"].items()} == pytest.approx(expected)
    table = (made / RUN.parent / "table.md").read_text()
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == ["teacher mace", "joint"]
    assert (made / RUN.parent / "comparison.png").stat().st_size > 10_000


def test_training_goes_on_where_it_was(command, made):
    data, labels = contents(made / "outputs" / "data"), contents(made / LABELS)
    logged = (made / RUN / "metrics" / "metrics.csv").read_bytes()
    result = command("train", *OPTIONS, *PAINN, "ckpt_path=last", "trainer.max_epochs=6")
    assert result.status == 0, result.err
    (run,) = (path.parent for path in made.glob("outputs/*/*/summary.json"))
    assert run == made / RUN
    summary = json.loads((run / "summary.json").read_text())
    assert summary["steps"] == 18
    # as it went on then, which takes the optimiser's state, the learning rate and the average
    test = {name: summary["test"][name] for name in ANSWERS["gone_on"]}
    assert test == pytest.approx(ANSWERS["gone_on"], rel=1e-3)
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 5
    assert (run / "metrics" / "metrics-1.csv").read_bytes() == logged
    with (run / "metrics" / "metrics.csv").open() as opened:
        assert {row["epoch"] for row in csv.DictReader(opened)} == {"5", "6"}
    assert contents(made / "outputs" / "data") == data
    assert contents(made / LABELS) == labels


def test_a_weight_that_was_halved_is_not_halved_again_when_training_goes_on(command):
    on = ("ckpt_path=paper/checkpoints/last.ckpt", "trainer.max_epochs=4", "hydra.run.dir=new")
    result = command("train", *OPTIONS, *PAPER, *on)
    assert result.status == 0, result.err
    assert "force MAE of the teacher on the validation split" in result.out
    assert "weight of the Hessian term halved" not in result.out


class Code:
    """What a pickle can do as it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def test_a_checkpoint_to_go_on_from_runs_no_code_whatever_the_environment_says(command, made, monkeypatch):
    monkeypatch.setenv(VARIABLE, "1")
    torch.save({"state_dict": Code()}, made / "evil.ckpt")
    with suppress(UnpicklingError):
        command("train", *OPTIONS, *PAINN, "ckpt_path=evil.ckpt", "trainer.max_epochs=6", "hydra.run.dir=new")
    assert not (made / "ran").exists()


@pytest.mark.parametrize("student", STUDENTS)
def test_a_student_gives_the_energies_and_forces_it_gave(made, student):
    check_answers(made / student, ANSWERS["students"][student])


@pytest.mark.parametrize(
    ("student", "options"),
    [(str(RUN), PAINN), ("students/gemnet_t.safetensors", ("student=gemnet_t", *GEMNET))],
    ids=["run", "file"],
)
def test_training_begins_with_the_weights_of_a_student(command, made, student, options):
    begin = (f"student_weights={student}", "optimizer.lr=0", "trainer.max_epochs=1", "hydra.run.dir=new")
    result = command("train", *OPTIONS, *options, *begin)
    assert result.status == 0, result.err
    assert "relative to other reference energies" not in result.out
    check_answers(made / "new", ANSWERS["students"][student])


@pytest.mark.parametrize("student", [str(RUN), "students/gemnet_dt.safetensors"], ids=["run", "file"])
def test_a_student_moves_atoms(command, made, student):
    given = ("structures=molecules.xyz", "index=5", "steps=4", "interval=2", "timestep=0.5", "hydra.run.dir=new")
    result = command("simulate", f"run={student}", *given, "dtype=float64")
    assert result.status == 0, result.err
    assert json.loads((made / "new" / "simulation.json").read_text())["steps"] == 4
    frames = read(made / "new" / "trajectory.xyz", index=":")
    assert len(frames) == 3
    for frame in frames:
        energy, forces = frame.get_potential_energy(), frame.get_forces()
        frame.calc = JointKD(made / student, dtype="float64")
        assert frame.get_potential_energy() == pytest.approx(energy, abs=1e-5)
        np.testing.assert_allclose(frame.get_forces(), forces, atol=1e-5)

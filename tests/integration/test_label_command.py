"""What python -m jointkd.label does besides labelling: status, verification, estimates, merging, workers."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from jointkd.labelling.jobs import make_labels
from jointkd.labelling.plan import LabelPlan
from tests.files import molecules, saved
from tests.processes import alive, wait_until
from tests.teachers import calls_in, plan_of

pytest.importorskip("mace")

COUNT = 15
ESTIMATE = r"(\d+) structures, (\d+) Hessian rows and (\d+) probes"


@pytest.fixture
def options(tiny_mace, tmp_path) -> tuple[str, ...]:
    return (
        "teacher=mace",
        f"teacher.checkpoint={tiny_mace}",
        "data=extxyz",
        f"data.path={saved(tmp_path / 'mine.xyz', molecules(COUNT))}",
        "data.energy_key=REF_energy",
        "data.forces_key=REF_forces",
        "label.path=labels",
        "label.shard_size=4",
        "hydra.run.dir=run",
    )


def shards(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "labels" / "shards").glob("*.safetensors"))


def keys_of(shard: Path) -> list[str]:
    with safe_open(shard, framework="numpy") as opened:
        return json.loads(opened.metadata()["keys"])


def total(text: str) -> int:
    """The number of structures in a status line; it is less than in the file, as validation needs no labels."""
    match = re.search(r"(\d+) done, (\d+) left, (\d+) failed", text)
    assert match, text
    return sum(int(number) for number in match.groups())


def test_the_status_is_printed_without_loading_the_teacher(command, options, tmp_path, monkeypatch):
    before = command("label", *options, "label.status=true")
    assert before.status == 0, before.err
    assert "no labels yet: 0 done" in before.out
    assert not (tmp_path / "labels").exists()
    assert command("label", *options).status == 0

    def loaded(*_, **__):
        raise AssertionError("the teacher was loaded")

    monkeypatch.setattr("jointkd.teachers.mace.load_pickle", loaded)
    monkeypatch.setattr("jointkd.teachers.mace_model.load", loaded)
    shards(tmp_path)[0].unlink()
    after = command("label", *options, "label.status=true")
    assert after.status == 0, after.err
    assert re.search(r"labels of mace: \d+ done, [24] left, 0 failed", after.out), after.out
    assert total(after.out) == total(before.out)


def test_verification_names_damaged_files_and_the_next_run_replaces_them(command, options, tmp_path):
    assert command("label", *options).status == 0
    count = len(shards(tmp_path))
    fine = command("label", *options, "label.verify=true")
    assert fine.status == 0, fine.err
    assert f"{count} files with " in fine.out
    bad = shards(tmp_path)[0]
    bad.write_bytes(bad.read_bytes()[:-8])
    broken = command("label", *options, "label.verify=true")
    assert broken.status == 1
    assert broken.err.startswith("CorruptShard: 1 files of labels")
    assert broken.err.count("\n") == 1
    assert bad.name in broken.err
    assert (tmp_path / "labels" / "damaged" / bad.name).exists()
    assert len(shards(tmp_path)) == count - 1
    assert command("label", *options).status == 0
    assert len(shards(tmp_path)) == count
    assert " 0 left" in command("label", *options, "label.status=true").out
    assert command("label", *options, "label.verify=true").status == 0


def test_a_dry_run_estimates_size_and_time_and_stores_nothing(command, options, tmp_path):
    estimate = command("label", *options, "label.dry_run=true")
    assert estimate.status == 0, estimate.err
    match = re.search(
        r"(\d+) structures, (\d+) Hessian rows, (\S+) MB in labels; (\d+) are left and take one process about (\S+) s ",
        estimate.out,
    )
    assert match, estimate.out
    structures, rows, megabytes, left, seconds = (float(number) for number in match.groups())
    assert structures == left
    assert not shards(tmp_path)
    assert seconds > 0
    assert command("label", *options).status == 0
    status = command("label", *options, "label.status=true").out
    assert f"{structures:.0f} done, 0 left" in status
    written = sum(shard.stat().st_size for shard in shards(tmp_path))
    assert 0.9 * written < 1e6 * megabytes < 1.1 * written
    assert rows > 4 * structures
    done = command("label", *options, "label.dry_run=true")
    assert "all are labelled" in done.out


def test_a_student_learns_from_probes_and_is_tested_on_rows(command, options, tmp_path):
    arguments = [*options, "label.probes=2", "label.eval_rows=3"]
    refused = command("train", *arguments, "hessian.rows=3")
    assert refused.status == 1
    assert "hessian.rows=3 and label.probes=2: training would ask for more than there are" in refused.err
    estimate = command("label", *arguments, "label.dry_run=true").out
    structures, rows, probes = (int(text) for text in re.search(ESTIMATE, estimate).groups())
    assert "label.rows=all gives their whole Hessians" not in estimate
    wasteful = command("label", *options, "label.probes=99", "label.dry_run=true")
    assert "label.probes=99 is no less than the number of Hessian rows (3N)" in wasteful.out + wasteful.err
    assert (rows, probes) == (3 * (structures - probes // 2), probes)
    small = ("method=hessian", "student.width=8", "student.layers=1", "trainer.max_epochs=1", "hydra.run.dir=trained")
    trained = command("train", *arguments, *small, "label.rows=4")
    assert trained.status == 0, trained.err
    assert "label.rows=4 is not used with label.probes=2" in trained.out + trained.err
    assert "hessian_row_mae_eV_per_A2" in trained.out
    assert " 0 left" in command("label", *arguments, "label.status=true").out
    mixed = command("train", *arguments, *small, "method.rows=mixed", "hydra.run.dir=mixed")
    assert mixed.status == 0, mixed.err


def test_labels_of_another_directory_are_merged(command, options, tmp_path):
    assert command("label", *options, "label.path=other").status == 0
    merged = command("label", *options, "label.merge=other")
    assert merged.status == 0, merged.err
    assert "structures came from other" in merged.out
    assert " 0 left" in command("label", *options, "label.status=true").out
    refused = command("label", *options, "label.path=third", "label.merge=other", "label.seed=1")
    assert refused.status == 1
    assert "label.seed=0, not label.seed=1" in refused.err


def test_labels_of_files_with_the_same_name_are_stored_side_by_side(command, options, tmp_path):
    options = [option for option in options if not option.startswith(("data.path", "label.path"))]
    arguments = {folder: [*options, f"data.path={folder}/mine.xyz", "label.rows=1"] for folder in "ab"}
    for seed, folder in enumerate(arguments):
        (tmp_path / folder).mkdir()
        saved(tmp_path / folder / "mine.xyz", molecules(COUNT, seed))
        assert command("label", *arguments[folder]).status == 0
    first, second = sorted((tmp_path / "outputs" / "labels" / "mace").iterdir())
    assert (first.name, second.name) == ("mine-float64-1-4", "mine-float64-1-4-2")
    for folder, place in (("a", first), ("b", second)):
        status = command("label", *arguments[folder], "label.status=true")
        assert " 0 left" in status.out
        assert status.out.rstrip().endswith(str(place.relative_to(tmp_path)))
    whole = command("label", *arguments["b"], "label.verify=true").out
    assert str(first.relative_to(tmp_path)) in whole
    assert whole.rstrip().endswith(str(second.relative_to(tmp_path)))
    refused = command("label", *arguments["b"], f"label.path={first}")
    assert refused.status == 1
    assert "are of other structures than data=mine" in refused.err


def test_labels_of_another_division_of_the_data_get_a_place_of_their_own(command, options, tmp_path):
    options = [option for option in options if not option.startswith("label.path")]
    arguments = [*options, "label.rows=3", "label.eval_rows=1"]
    for seed in range(2):
        labelled = command("label", *arguments, f"data.split.seed={seed}")
        assert labelled.status == 0, labelled.err
    names = sorted(folder.name for folder in (tmp_path / "outputs" / "labels" / "mace").iterdir())
    assert names == ["mine-float64-3-1", "mine-float64-3-1-2"]
    refused = command("label", *arguments, "data.split.seed=1", f"label.path=outputs/labels/mace/{names[0]}")
    assert refused.status == 1
    assert "have fewer Hessian rows" in refused.err


def two_workers(folder: Path, count: int) -> LabelPlan:
    """A plan for a teacher that labels only when two processes have built it."""
    (folder / "calls").mkdir()
    plan = plan_of("CompanionTeacher", folder / "calls", folder / "labels", count, shard_size=2)
    spec = replace(plan.teacher, options={**plan.teacher.options, "companions": 2})
    return replace(plan, place=replace(plan.place, teacher=spec))


def test_workers_share_the_work_without_repeating_any(tmp_path):
    plan = two_workers(tmp_path, 30)
    threads = torch.get_num_threads()
    store = make_labels(plan, workers=2)
    assert store.keys() == plan.frames.keys()
    calls = [calls_in(file) for file in (tmp_path / "calls").iterdir()]
    assert len(calls) == 2
    assert all(calls)
    assert sorted(calls[0] + calls[1]) == sorted(store.keys())
    assert torch.get_num_threads() == threads
    assert not multiprocessing.active_children()


def label_with_a_worker(folder: Path) -> None:
    make_labels(two_workers(folder, 1000), workers=2)


def test_workers_end_with_the_first_process_even_if_that_is_killed(tmp_path):
    first = multiprocessing.get_context("spawn").Process(target=label_with_a_worker, args=(tmp_path,))
    first.start()
    calls = tmp_path / "calls"
    wait_until(lambda: calls.exists() and [bool(calls_in(file)) for file in calls.iterdir()] == [True, True])
    (helper,) = {int(file.name) for file in calls.iterdir()} - {first.pid}
    assert alive(helper)
    first.kill()
    first.join()
    wait_until(lambda: not alive(helper))
    assert len(shards(tmp_path)) < 500  # with all 1000 structures it would have ended in any case


@pytest.mark.parametrize("workers", ["0", "many"])
def test_the_number_of_workers_must_be_a_positive_integer(command, options, workers):
    refused = command("label", *options, f"label.workers={workers}")
    assert refused.status == 1
    assert refused.err.startswith(f"ConfigError: label.workers={workers} must be a positive integer")


def test_sigterm_ends_the_command_before_all_is_labelled_and_the_next_one_goes_on(command, options, tmp_path):
    saved(tmp_path / "mine.xyz", molecules(600))
    process = subprocess.Popen(
        [sys.executable, "-m", "jointkd.label", *options],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "CUDA_VISIBLE_DEVICES": ""},
    )
    wait_until(lambda: len(shards(tmp_path)) >= 2 or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert "stopped by SIGTERM; the same command continues from the committed labels" in output
    assert "Traceback" not in output
    assert not list((tmp_path / "labels" / "shards").glob(".*"))
    status = command("label", *options, "label.status=true")
    match = re.search(r"(\d+) done, (\d+) left", status.out)
    assert match, status
    assert int(match[1]) >= 8
    assert int(match[2]) > 0


@pytest.mark.slow
def test_concurrent_jobs_of_a_sweep_share_the_work(options, tmp_path):
    """Like the tasks of a job array of a batch system."""
    saved(tmp_path / "mine.xyz", molecules(60))
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    jobs = [option for option in options if not option.startswith("hydra.run.dir")]
    sweep = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=sweep", "+task=1,2"]
    done = subprocess.run(
        [sys.executable, "-m", "jointkd.label", *sweep, *jobs, "label.path=${hydra:runtime.cwd}/labels"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
        },
    )
    assert done.returncode == 0, done.stderr
    keys = [key for file in shards(tmp_path) for key in keys_of(file)]
    assert len(keys) == len(set(keys)) == 54


def test_what_the_teacher_would_refuse_is_refused_by_the_estimate_as_well(command, options, tmp_path):
    some = molecules(COUNT)
    for atoms in some:
        atoms.numbers[0] = 14
    saved(tmp_path / "mine.xyz", some)
    result = command("label", *options, "label.dry_run=true")
    assert result.status == 1
    assert "does not know Si" in result.err


def test_what_is_asked_for_is_one_thing(command, options):
    result = command("label", *options, "label.dry_run=true", "label.status=true")
    assert result.status == 1
    assert result.err == "ConfigError: label.status and label.dry_run exclude each other; give one of them\n"

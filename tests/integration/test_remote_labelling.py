"""Labelling by the interpreter of another environment, which has the package that a teacher needs."""

import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from jointkd.errors import ConfigError, MissingExtra, TeacherError
from jointkd.labelling.jobs import estimate, make_labels
from jointkd.labelling.plan import LabelPlan
from jointkd.labelling.remote import JOB
from jointkd.labels.store import LabelStore
from tests.processes import alive, wait_until
from tests.teachers import NumberTeacher, plan_of

ROOT = Path(__file__).parents[2]
PARENT = """
import sys
from pathlib import Path
from jointkd.labelling.jobs import make_labels
from tests.integration.test_remote_labelling import from_environment
from tests.teachers import plan_of
plan = from_environment(plan_of("PackagedTeacher", Path("processes"), Path("labels"), 600), sys.argv[1])
plan.teacher.options["seconds"] = 0.1
make_labels(plan)
"""


def environment(folder: Path, package: str = "works") -> Path:
    """A stand-in for the interpreter of another environment: this one, with the package of the toy teacher."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nTOY_PACKAGE={package} PYTHONPATH={ROOT} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


def from_environment(plan: LabelPlan, python: Path | str) -> LabelPlan:
    """The same plan, to be carried out by the interpreter of another environment."""
    return replace(plan, place=replace(plan.place, teacher=replace(plan.teacher, python=str(python))))


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """plan(count, path): a plan for the toy teacher, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jointkd.labelling.remote.PACKAGE", tmp_path / "no checkout" / "jointkd")
    (tmp_path / "processes").mkdir()
    return lambda count, path="labels": plan_of("PackagedTeacher", tmp_path / "processes", tmp_path / path, count)


def processes(folder: Path) -> list[int]:
    return [int(file.name) for file in folder.iterdir()]


def test_another_interpreter_makes_the_same_labels_as_this_process(plan, tmp_path, capfd, monkeypatch):
    python = environment(tmp_path / "other")
    store = make_labels(from_environment(plan(9), python), "method=joint")
    assert len(processes(tmp_path / "processes")) == 1
    assert processes(tmp_path / "processes") != [os.getpid()]
    assert "labels of numbers: 9 of 9 structures" in capfd.readouterr().out
    monkeypatch.setenv("TOY_PACKAGE", "works")
    here = make_labels(plan(9, "here"))
    assert os.getpid() in processes(tmp_path / "processes")
    assert store.content_hash() == here.content_hash()
    assert store.teacher == here.teacher == NumberTeacher.identity


def test_complete_labels_need_neither_the_package_nor_another_interpreter(plan, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TOY_PACKAGE", "works")
        make_labels(plan(5))
    assert len(make_labels(plan(5))) == 5


def test_without_the_package_the_environment_that_make_creates_is_used(plan, tmp_path, capfd):
    environment(tmp_path / ".venv-fairchem")
    assert estimate(plan(9)) == f"timed in {tmp_path / '.venv-fairchem' / 'bin' / 'python'}"
    assert "9 structures, 36 Hessian rows" in capfd.readouterr().out
    assert not (tmp_path / "labels").exists()


def test_without_such_an_environment_the_package_is_reported_as_missing(plan):
    with pytest.raises(MissingExtra, match="toy teachers need toy, which is not installed; install it"):
        make_labels(plan(3))


def test_an_environment_that_lacks_the_package_does_not_call_itself(plan, tmp_path, monkeypatch):
    environment(tmp_path / ".venv-fairchem")
    monkeypatch.setattr("sys.prefix", str(tmp_path / ".venv-fairchem"))
    with pytest.raises(MissingExtra):
        make_labels(plan(3))


def test_an_error_of_the_other_interpreter_is_raised_in_this_process(plan, tmp_path, capfd):
    with pytest.raises(TeacherError, match=r"^TeacherError: the toy is broken; repair it$"):
        make_labels(from_environment(plan(3), environment(tmp_path / "other", "refuses")))
    assert "toy" not in capfd.readouterr().err


def test_an_interpreter_that_dies_is_an_error_that_names_it(plan, tmp_path):
    with pytest.raises(TeacherError, match=r"labelling by .*/other/bin/python ended with status 3; see its last"):
        make_labels(from_environment(plan(3), environment(tmp_path / "other", "dies")))


def test_a_missing_interpreter_or_one_without_jointkd_is_an_error_before_labelling(plan, tmp_path):
    with pytest.raises(ConfigError, match=r"teacher\.python=nowhere/python must be a Python interpreter"):
        make_labels(from_environment(plan(3), "nowhere/python"))
    empty = tmp_path / "python"
    empty.write_text("#!/bin/sh\nexit 1\n")
    empty.chmod(0o755)
    with pytest.raises(TeacherError, match="python cannot import jointkd; install this version there"):
        make_labels(from_environment(plan(3), empty))
    assert not (tmp_path / "labels").exists()


def test_the_other_interpreter_ends_with_this_process_for_whatever_reason(tmp_path):
    python = environment(tmp_path / "other")
    parents, folders = {}, {}
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        folders[number] = tmp_path / number.name
        (folders[number] / "processes").mkdir(parents=True)
        # SIGINT as in the foreground; otherwise ignored, as in processes that a shell starts in the background
        started = partial(signal.signal, signal.SIGINT, signal.SIG_DFL if number == signal.SIGINT else signal.SIG_IGN)
        line = [sys.executable, "-c", PARENT, str(python)]
        parents[number] = subprocess.Popen(line, env=environ, cwd=folders[number], preexec_fn=started)
    for number, parent in parents.items():
        shards = folders[number] / "labels" / "shards"
        wait_until(lambda shards=shards: any(shards.glob("*.safetensors")))
        (child,) = processes(folders[number] / "processes")
        assert alive(child)
        parent.send_signal(number)
        assert parent.wait(300) == (143 if number == signal.SIGTERM else -number)
        wait_until(lambda child=child: not alive(child))
        assert 4 <= len(LabelStore.open(folders[number] / "labels")) < 600
        assert not list(shards.glob(".*"))


def test_the_other_interpreter_ends_with_its_parent_even_if_it_misses_the_interrupt(tmp_path):
    (tmp_path / JOB).write_bytes(pickle.dumps(None))
    deaf = """if True:
        import sys, time
        from pathlib import Path
        from jointkd.labelling import remote
        remote.PATIENCE = 0.5
        remote.read_job(Path(sys.argv[1]))
        while True:
            try:
                print("reads", flush=True)
                time.sleep(100)
            except KeyboardInterrupt:
                print("missed", flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", deaf, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout.readline() == "reads\n"
    process.stdin.close()
    assert process.wait(60) == 128 + signal.SIGINT
    assert process.stdout.read().startswith("missed\n")

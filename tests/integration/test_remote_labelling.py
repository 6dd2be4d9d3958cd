"""Labels through the interpreter of another environment, which has the package that a teacher needs."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from jointkd.errors import ConfigError, MissingExtra, TeacherError
from jointkd.labelling.jobs import estimate, make_labels
from jointkd.labelling.plan import wanted_labels
from jointkd.labels.store import LabelStore
from tests.processes import alive, wait_until
from tests.teachers import NumberTeacher, frames_of

ROOT = Path(__file__).parents[2]
PARENT = """
import json, sys
from types import SimpleNamespace
from omegaconf import OmegaConf
from jointkd.labelling.jobs import make_labels
from tests.teachers import frames_of
data = SimpleNamespace(reference="data", frames={"train": frames_of(600), "val": [], "test": []})
make_labels(OmegaConf.create(json.loads(sys.argv[1])), data)
"""


def environment(folder: Path, package: str = "works") -> Path:
    """The interpreter of another environment: this one, but with the toy's package."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nTOY_PACKAGE={package} PYTHONPATH={ROOT} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A job for the toy teacher, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jointkd.labelling.remote.PACKAGE", tmp_path / "no checkout" / "jointkd")
    (tmp_path / "processes").mkdir()
    teacher = {"_target_": "tests.teachers.PackagedTeacher", "name": "numbers", "dtype": "float64", "python": None}
    labels = {
        "path": str(tmp_path / "labels"),
        "rows": 4,
        "eval_rows": 2,
        "validation": False,
        "seed": 0,
        "shard_size": 4,
    }
    return OmegaConf.create(
        {
            "teacher": {**teacher, "folder": str(tmp_path / "processes")},
            "label": labels,
            "method": {"name": "joint"},
            "data": {"name": "toy"},
        }
    )


def data_of(count: int) -> SimpleNamespace:
    return SimpleNamespace(reference="data", name="toy", frames={"train": frames_of(count), "val": [], "test": []})


def processes(folder: Path) -> list[int]:
    return [int(file.name) for file in folder.iterdir()]


def test_labels_from_the_interpreter_that_was_named_are_those_made_here(config, tmp_path, capfd, monkeypatch):
    config.teacher.python = str(environment(tmp_path / "other"))
    store = make_labels(config, data_of(9), atomic_energies=True)
    assert len(processes(tmp_path / "processes")) == 1
    assert processes(tmp_path / "processes") != [os.getpid()]
    assert "labels of numbers: 9 of 9 structures" in capfd.readouterr().out
    config.teacher.python, config.label.path = None, str(tmp_path / "here")
    monkeypatch.setenv("TOY_PACKAGE", "works")
    here = make_labels(config, data_of(9))
    assert os.getpid() in processes(tmp_path / "processes")
    assert store.content_hash() == here.content_hash()
    assert store.teacher == here.teacher == NumberTeacher.identity


def test_finished_labels_need_neither_the_package_nor_another_interpreter(config, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TOY_PACKAGE", "works")
        make_labels(config, data_of(5))
    assert len(make_labels(config, data_of(5))) == 5


def test_the_environment_that_make_made_is_found_where_the_package_is_not_here(config, tmp_path, capfd):
    environment(tmp_path / ".venv-fairchem")
    told = estimate(config, wanted_labels(config, data_of(9)))
    assert told == f"timed in {tmp_path / '.venv-fairchem' / 'bin' / 'python'}"
    assert "9 structures, 36 Hessian rows" in capfd.readouterr().out
    assert not (tmp_path / "labels").exists()


def test_without_such_an_environment_the_package_is_missing(config):
    with pytest.raises(MissingExtra, match="toy teachers need toy, which is not here; install it"):
        make_labels(config, data_of(3))


def test_an_environment_is_not_asked_for_what_it_lacks_itself(config, tmp_path, monkeypatch):
    environment(tmp_path / ".venv-fairchem")
    monkeypatch.setattr("sys.prefix", str(tmp_path / ".venv-fairchem"))
    with pytest.raises(MissingExtra):
        make_labels(config, data_of(3))


def test_what_the_other_interpreter_refuses_is_refused_here_in_its_words(config, tmp_path, capfd):
    config.teacher.python = str(environment(tmp_path / "other", "refuses"))
    with pytest.raises(TeacherError, match=r"^TeacherError: the toy is broken; mend it$"):
        make_labels(config, data_of(3))
    assert "toy" not in capfd.readouterr().err


def test_an_interpreter_that_dies_is_named(config, tmp_path):
    config.teacher.python = str(environment(tmp_path / "other", "dies"))
    with pytest.raises(TeacherError, match=r"labelling by .*/other/bin/python ended with status 3; see above"):
        make_labels(config, data_of(3))


def test_an_interpreter_that_is_none_or_has_no_jointkd_is_named_before_anything_is_done(config, tmp_path):
    config.teacher.python = "nowhere/python"
    with pytest.raises(ConfigError, match=r"teacher\.python=nowhere/python is no interpreter"):
        make_labels(config, data_of(3))
    empty = tmp_path / "python"
    empty.write_text("#!/bin/sh\nexit 1\n")
    empty.chmod(0o755)
    config.teacher.python = str(empty)
    with pytest.raises(TeacherError, match="python has no jointkd that starts; install this one there"):
        make_labels(config, data_of(3))
    assert not (tmp_path / "labels").exists()


def test_the_other_interpreter_ends_with_this_process_however_that_ends(config, tmp_path):
    config.teacher.python = str(environment(tmp_path / "other"))
    config.teacher.seconds = 0.1
    parents, stores = {}, {}
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        stores[number] = config.label.path = str(tmp_path / f"labels of {number.name}")
        config.teacher.folder = str(tmp_path / number.name)
        (tmp_path / number.name).mkdir()
        job = json.dumps(OmegaConf.to_container(config))
        # in the foreground, or as a shell starts what it runs in the background
        started = partial(signal.signal, signal.SIGINT, signal.SIG_DFL if number == signal.SIGINT else signal.SIG_IGN)
        parents[number] = subprocess.Popen([sys.executable, "-c", PARENT, job], env=environ, preexec_fn=started)
    for number, parent in parents.items():
        shards = Path(stores[number]) / "shards"
        wait_until(lambda shards=shards: any(shards.glob("*.safetensors")))
        (child,) = processes(tmp_path / number.name)
        assert alive(child)
        parent.send_signal(number)
        assert parent.wait(10) == (143 if number == signal.SIGTERM else -number)
        wait_until(lambda child=child: not alive(child), 20)
        assert 4 <= len(LabelStore.open(Path(stores[number]))) < 600
        assert not list(shards.glob(".*"))

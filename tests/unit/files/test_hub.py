"""Students on the Hugging Face hub, which is here a local server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from ase.io import write

from jointkd.deploy.ase import JointKD
from jointkd.deploy.loaded import load
from jointkd.errors import ConfigError, DataError, MissingExtra
from jointkd.files.hub import HubAddress
from jointkd.students.student_file import read_student, save_student
from tests.hub_server import HubServer, commit_of, hub_server
from tests.structures import ETHANOL
from tests.unit.deploy.test_ase import CONSERVATIVE, student_file

SMALL = {**CONSERVATIVE[0], "layers": 1, "width": 4}
CARD = {"licence": "ASL (non-commercial)", "level_of_theory": "wB97M", "citation": "", "elements": ["H"]}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A server in the place of the hub, with an empty cache, for a user who is logged in."""
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants

    with hub_server() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", server.token)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield server


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """The file of a student whose teacher's licence forbids commercial use."""
    file = student_file(tmp_path, SMALL)
    origin = {"data": "mine", "student": "painn", "method": "joint", "teacher": "off", "teacher_card": CARD}
    save_student(file, read_student(file)._replace(origin=origin))
    return file


def test_a_student_that_was_pushed_is_loaded_by_its_name_with_the_same_results(hub, student, command):
    pushed = command("export", f"run={student}", "to=none", "hub=user/fast", "licence=cc-by-nc-4.0")
    assert pushed.status == 0, pushed.err
    assert pushed.out.index("licence is: ASL (non-commercial)") < pushed.out.index("pushing to user/fast")
    (files,) = hub.commits["user/fast"]
    assert set(files) == {"student.safetensors", "README.md"}
    assert files["student.safetensors"] == student.read_bytes()
    assert (
        files["README.md"]
        .decode()
        .startswith('---\nlicense: "cc-by-nc-4.0"\nlibrary_name: jointkd\ntags:\n- jointkd\n')
    )
    assert "# mine_painn_joint\n" in files["README.md"].decode()
    assert hub.private == {"user/fast": True}
    loaded = load("hf://user/fast")
    assert loaded.origin["data"] == "mine"
    assert loaded.ase().get_potential_energy(ETHANOL) == JointKD(student).get_potential_energy(ETHANOL)
    assert JointKD("hf://user/fast").get_potential_energy(ETHANOL) == JointKD(student).get_potential_energy(ETHANOL)


def test_a_student_of_the_hub_is_used_by_commands_and_nothing_is_written_into_the_cache(
    hub, student, command, tmp_path
):
    hub.commits["user/fast"] = [{"student.safetensors": student.read_bytes()}]
    write(tmp_path / "start.xyz", ETHANOL)
    simulated = command("simulate", "run=hf://user/fast", "structures=start.xyz", "steps=1", "stop_when=never")
    assert simulated.status == 0, simulated.err
    evaluated = command("evaluate", "run=hf://user/fast", "structures=start.xyz", "output=predicted.xyz")
    assert evaluated.status == 0, evaluated.err
    refused = command("export", "run=hf://user/fast", "to=none")
    assert "output is not set, and run=hf://user/fast has no folder here; name a file with output=…" in refused.err
    assert command("export", "run=hf://user/fast", "to=none", "output=card.md").status == 0
    assert "# mine_painn_joint" in (tmp_path / "card.md").read_text()
    assert not list((tmp_path / "cache").rglob("*.md"))


def test_a_revision_is_loaded_and_the_newest_is_the_default(hub, student, command):
    command("export", f"run={student}", "to=none", "hub=user/fast", "private=false")
    assert hub.private == {"user/fast": False}
    save_student(student, read_student(student)._replace(origin={"data": "other"}))
    command("export", f"run={student}", "to=none", "hub=user/fast")
    assert load("hf://user/fast").origin["data"] == "other"
    assert load(f"hf://user/fast@{commit_of(0)}").origin["data"] == "mine"
    with pytest.raises(
        DataError, match=r"student\.safetensors at v9 does not exist in .*/user/fast, or is not visible"
    ):
        load("hf://user/fast@v9")


def test_without_a_network_the_cache_serves(hub, student, command, monkeypatch):
    command("export", f"run={student}", "to=none", "hub=user/fast")
    load("hf://user/fast")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.commits.clear()
    assert load("hf://user/fast").origin["data"] == "mine"
    with pytest.raises(
        DataError, match=r"student\.safetensors of user/other is not in the cache, and .* cannot be reached"
    ):
        load("hf://user/other")


def test_nothing_but_a_students_file_is_fetched(hub):
    hub.commits["user/code"] = [{"student.aoti.pt2": b"code", "student.safetensors": b"\x80\x04not a student."}]
    with pytest.raises(DataError, match="is not a student file"):
        load("hf://user/code", trust=True)
    hub.commits["user/code"] = [{"student.pkl": b"code"}]
    with pytest.raises(DataError, match=r"student\.safetensors does not exist in .*/user/code"):
        load("hf://user/code", trust=True)


def test_a_repository_that_is_not_there_is_said_in_one_line(hub, command):
    with pytest.raises(
        DataError, match=r"does not exist in .*/no/body, or is not visible to you; check the name, or log"
    ):
        load("hf://no/body")
    refused = command("simulate", "run=hf://no/body", f"structures={__file__}")
    assert refused.status == 1


def test_who_may_not_write_is_told_how_to_log_in_and_nothing_is_lost(hub, student, command, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    refused = command("export", f"run={student}", "to=none", "hub=user/fast")
    assert refused.status == 1
    assert "/user/fast does not let you write; log in with `hf auth login`, or set HF_TOKEN" in refused.err
    assert hub.commits == {}


def test_without_the_option_nothing_is_sent(hub, student, command, tmp_path):
    assert command("export", f"run={student}", "to=none", f"output={tmp_path}/card.md").status == 0
    assert hub.commits == {}


@pytest.mark.parametrize("path", ["hf://user", "hf:/user", "hf://a/b/c", "hf://a/b@", "hf://user/na me"])
def test_an_address_that_is_not_whole_is_refused(path):
    with pytest.raises(ConfigError, match="is not an address on the hub; give hf://USER/NAME"):
        load(path)


def test_addresses_are_told_from_paths():
    assert HubAddress.of("hf://a/b.c@refs/pr/1") == ("a/b.c", "refs/pr/1")
    assert HubAddress.of(Path("hf://a/b")) == ("a/b", None)
    assert HubAddress.of("outputs/hf/b") is None


def test_without_the_package_one_line_says_what_to_install(monkeypatch, tmp_path, command):
    monkeypatch.setitem(sys.modules, "huggingface_hub.constants", None)
    student_file(tmp_path, SMALL)
    with pytest.raises(MissingExtra, match=r"huggingface_hub is not installed; pip install 'jointkd\[hub\]'"):
        load("hf://a/b")
    refused = command("export", "run=student.safetensors", "to=none", "hub=a/b")
    assert "MissingExtra: huggingface_hub is not installed" in refused.err
    write(tmp_path / "start.xyz", ETHANOL)
    simulated = command("simulate", "run=hf://a/b", "structures=start.xyz")
    assert "MissingExtra: huggingface_hub is not installed" in simulated.err


def test_what_is_not_the_name_of_a_repository_is_refused(command, tmp_path):
    student_file(tmp_path, SMALL)
    refused = command("export", "run=student.safetensors", "to=none", "hub=mine")
    assert "ConfigError: hub=mine is not the name of a repository; give hub=USER/NAME" in refused.err


def test_options_without_effect_are_named(command, tmp_path):
    student_file(tmp_path, SMALL)
    done = command("export", "run=student.safetensors", "to=none", "private=false", "dtype=float64")
    assert "private=false is not used with hub=null" in done.out + done.err
    assert "dtype=float64 is not used with to=none" in done.out + done.err


@pytest.mark.slow
def test_the_environment_variables_of_the_hub_name_server_cache_and_no_network(tmp_path):
    pytest.importorskip("huggingface_hub")
    file = student_file(tmp_path, SMALL)
    program = "import sys, jointkd; print(len(jointkd.load(sys.argv[1]).options))"
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": HubServer.token}
    run = partial(subprocess.run, capture_output=True, text=True)
    with hub_server() as server:
        environment["HF_ENDPOINT"] = server.url
        export = [sys.executable, "-m", "jointkd.export", f"run={file}", "to=none", "hub=user/fast"]
        pushed = run(export, env=environment)
        assert pushed.returncode == 0, pushed.stderr
        online = run([sys.executable, "-c", program, "hf://user/fast"], env=environment)
    offline = run([sys.executable, "-c", program, "hf://user/fast"], env={**environment, "HF_HUB_OFFLINE": "1"})
    assert online.stdout == offline.stdout == f"{len(SMALL)}\n", online.stderr + offline.stderr

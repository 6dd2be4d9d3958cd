"""Files of MACE models: checkpoints, directories of weights, foundation models by name and by URL, and errors."""

import hashlib
import json
import re
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from jointkd.cli.config_tree import CONF, PACKAGE
from jointkd.errors import ConfigError, DataError, MissingExtra, TeacherError
from jointkd.teachers import mace, mace_files
from tests.labelled import agree, labels_of
from tests.structures import WATER
from tests.unit.teachers.conftest import OPTIONS

pytest.importorskip("mace")


def test_without_mace_torch_the_error_names_the_extra_to_install(tiny_mace, monkeypatch):
    monkeypatch.setitem(sys.modules, "mace.calculators", None)
    with pytest.raises(MissingExtra, match=r"pip install 'jointkd\[mace\]'"):
        mace.from_checkpoint(str(tiny_mace), **OPTIONS)


def test_a_missing_file_is_an_error_that_names_it():
    with pytest.raises(TeacherError, match=r"teacher\.checkpoint=/nowhere/x\.model does not exist"):
        mace.from_checkpoint("/nowhere/x.model", **OPTIONS)


@pytest.mark.parametrize("content", [b"", b"no model", torch.zeros(3)], ids=["empty", "text", "tensor"])
def test_a_file_without_a_model_is_an_error_that_names_it(tmp_path, content):
    file = tmp_path / "x.model"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(TeacherError, match=r"x\.model cannot be loaded as a MACE model"):
        mace.from_checkpoint(str(file), **OPTIONS)


class Scripted(torch.nn.Module):
    """Something to compile."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["checkpoint of a training", "TorchScript export"])
def test_a_file_that_mace_writes_beside_its_model_is_named_and_so_is_the_model(tmp_path, kind):
    file = tmp_path / "checkpoints" / "run-1_epoch-3.pt"
    file.parent.mkdir()
    if kind == "TorchScript export":
        torch.jit.save(torch.jit.script(Scripted()), file)
    else:
        torch.save({"model": {"weight": torch.zeros(3)}, "optimizer": {}, "lr_scheduler": {}}, file)
    with pytest.raises(TeacherError, match=rf"epoch-3\.pt is a {kind}.*; give the \.model file .* beside it$"):
        mace.from_checkpoint(str(file), **OPTIONS)
    (tmp_path / "run.model").write_bytes(b"")
    with pytest.raises(TeacherError, match=r"beside it, such as run\.model$"):
        mace.from_checkpoint(str(file), **OPTIONS)


def copied(directory: Path, target: Path) -> Path:
    target.mkdir()
    for file in directory.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


@pytest.mark.parametrize(
    ("entry", "replacement"),
    [
        ('"mlp_irreps": "4x0e"', '"mlp_irreps": "8x0e"'),
        ('"num_interactions": 2', '"num_interactions": 1'),
        ('"radial_mlp"', '"radial"'),
    ],
    ids=["shape", "layers", "entry"],
)
def test_weights_that_do_not_match_the_architecture_are_refused(tiny_mace, tmp_path, entry, replacement):
    directory = copied(tiny_mace, tmp_path / "copy")
    card = directory / "model.json"
    assert entry in card.read_text()
    card.write_text(card.read_text().replace(entry, replacement))
    with pytest.raises(TeacherError, match="copy is not a directory of plain MACE weights"):
        mace.from_checkpoint(str(directory), **OPTIONS)


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_directory_of_weights_is_an_error_that_names_it(tiny_mace, tmp_path, name, damage):
    file = copied(tiny_mace, tmp_path / "copy") / name
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(TeacherError, match="copy is not a directory of plain MACE weights"):
        mace.from_checkpoint(str(file.parent), **OPTIONS)


@pytest.mark.parametrize(
    ("option", "value", "error", "remedy"),
    [("dtype", "float16", TeacherError, "float32"), ("device", "cuda", ConfigError, "leave out teacher.device")],
)
def test_an_unavailable_precision_or_device_is_refused(teacher, tiny_mace, option, value, error, remedy):
    if value == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(error, match=f"teacher.{option}={value}") as caught:
        mace.teacher(teacher.module, tiny_mace, **{**OPTIONS, option: value}, head=None)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("family", ["mace_off", "mace_mp"])
def test_an_unknown_foundation_model_is_refused_with_the_list_of_known_ones(family):
    with pytest.raises(
        TeacherError, match=f"teacher.size='huge' must be the name of a {family} model; choose one of small, medium"
    ):
        mace.foundation(family, "huge", **OPTIONS)


@pytest.mark.parametrize("family", ["mace_off", "mace_mp"])
def test_without_a_network_the_error_says_how_to_provide_a_foundation_model(family, monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # a closed port
    monkeypatch.setattr("urllib.request._opener", None)  # an opener that was created earlier does not use the variable
    with pytest.raises(TeacherError) as caught:
        mace.foundation(family, "small", **OPTIONS)
    assert "\n" not in str(caught.value)
    assert f"the {family} model 'small' could not be downloaded" in caught.value.problem
    assert "refused" in caught.value.problem
    assert "teacher=mace teacher.checkpoint=FILE" in caught.value.remedy
    assert str(tmp_path / "mace") in caught.value.remedy
    assert re.search(r"download https://\S+\.model elsewhere", caught.value.remedy)
    assert capfd.readouterr().out == ""
    assert not list((tmp_path / "mace").iterdir())


@pytest.mark.parametrize(
    ("family", "name"),
    [("mace_off", "MACE-OFF23_small.model"), ("mace_mp", "20231210mace128L0_energy_epoch249model")],
)
def test_a_foundation_model_in_the_cache_needs_no_network(family, name, model_file, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    (tmp_path / "mace").mkdir()
    (tmp_path / "mace" / name).write_bytes(model_file.read_bytes())
    teacher = mace.foundation(family, "small", **OPTIONS, licence="ASL")
    assert teacher.identity.licence == "ASL"
    assert labels_of(teacher, WATER).finite()


@pytest.fixture
def served(model_file, tmp_path, monkeypatch):
    """The URL of a model file on a local server, with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    handler = partial(SimpleHTTPRequestHandler, directory=str(model_file.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{model_file.name}"
        server.shutdown()


@pytest.mark.parametrize("checksum", [True, False])
def test_a_model_is_downloaded_once_and_compared_with_its_checksum(served, model_file, checksum, tmp_path, caplog):
    sha256 = hashlib.sha256(model_file.read_bytes()).hexdigest() if checksum else None
    for _ in range(2):
        first = mace.foundation("mace_off", "24", **OPTIONS, url=served, sha256=sha256, licence="ASL")
        second = mace.from_checkpoint(served, **OPTIONS, sha256=sha256)
    assert first.identity.checkpoint == second.identity.checkpoint
    assert len(list((tmp_path / "cache").rglob(model_file.name))) == 1
    assert ("without a publisher's checksum" in caplog.text) is not checksum
    agree(labels_of(first, WATER, [1]), labels_of(second, WATER, [1]), 1e-12)


def test_a_model_with_another_checksum_is_refused_before_it_is_loaded(served, monkeypatch):
    monkeypatch.setattr(mace, "load_pickle", None)
    with pytest.raises(DataError, match="checksum"):
        mace.foundation("mace_off", "24", **OPTIONS, url=served, sha256="0" * 64)


@pytest.mark.parametrize(
    ("size", "licence", "theory"),
    [
        ("small", "MIT", "PBE(+U), Materials Project settings"),
        ("medium-mpa-0", "MIT", "PBE(+U), Materials Project settings"),
        ("medium-omat-0", "ASL (non-commercial)", "PBE(+U), OMat24 settings"),
        ("mace-matpes-pbe-0", "ASL (non-commercial)", "PBE, MatPES settings"),
        ("mace-matpes-r2scan-0", "ASL (non-commercial)", "r2SCAN, MatPES settings"),
        ("mh-1", "ASL (non-commercial)", "several, one for each head"),
    ],
)
def test_each_size_of_mace_mp_has_its_own_licence_and_level_of_theory(size, licence, theory, monkeypatch, model_file):
    monkeypatch.setattr(mace_files, "fetch_mp", lambda _: model_file)
    options = {name: value for name, value in OPTIONS.items() if name not in ("licence", "level_of_theory")}
    about = mace.foundation("mace_mp", size, **options, licence=None, level_of_theory=None).identity
    assert (about.licence, about.level_of_theory) == (licence, theory)
    assert mace.foundation("mace_mp", size, **options, licence="mine").identity.licence == "mine"


def test_the_configuration_of_the_demo_teacher_agrees_with_its_model_card():
    configuration = OmegaConf.load(CONF / "teacher" / "demo.yaml")
    card = json.loads((PACKAGE / "demo" / "teacher" / "model.json").read_text())
    for field in ("licence", "level_of_theory", "citation"):
        assert configuration[field] == card[field]

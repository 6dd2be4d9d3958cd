"""MACE teachers: labels, files and foundation models, heads, and errors."""

import hashlib
import json
import logging
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from omegaconf import OmegaConf

from jointkd.cli.config_tree import CONF, PACKAGE
from jointkd.errors import ConfigError, DataError, MissingExtra, TeacherError
from jointkd.labels.records import TeacherLabels
from jointkd.runtime import default_dtype
from jointkd.structures.frame import Frame
from jointkd.teachers import mace, mace_files
from jointkd.teachers.base import log_identity
from tests.conftest import TINY_MACE
from tests.structures import rattled

pytest.importorskip("mace")

OPTIONS: dict[str, Any] = {"name": "tiny", "dtype": "float64", "device": "cpu", "batch_atoms": 64}
ETHANOL = rattled(molecule("CH3CH2OH"), 1)
WATER = rattled(molecule("H2O"), 2)
NITRIDE = rattled(bulk("CN", "zincblende", a=3.6, cubic=True), 3)


def frame_of(atoms: Atoms) -> Frame:
    return Frame(atoms.numbers, atoms.positions.copy(), atoms.cell.array, atoms.pbc)


def labels_of(teacher: mace.MaceTeacher, atoms: Atoms, rows: Any = ()) -> TeacherLabels:
    (label,) = teacher.label([frame_of(atoms)], [np.array(rows, dtype=int)])
    return label


def displaced(atoms: Atoms, row: int, step: float) -> Atoms:
    copy = atoms.copy()
    copy.positions.reshape(-1)[row] += step
    return copy


def agree(actual: TeacherLabels, expected: TeacherLabels, tolerance: float) -> None:
    np.testing.assert_allclose(actual.energy, expected.energy, rtol=0, atol=tolerance)
    for name in ("atomic_energies", "forces", "hessian_rows"):
        np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), rtol=0, atol=tolerance, err_msg=name)
    np.testing.assert_array_equal(actual.row_ids, expected.row_ids)


@pytest.fixture(scope="module")
def teacher(tiny_mace):
    return mace.from_checkpoint(str(tiny_mace), **OPTIONS)


@pytest.fixture(scope="module")
def single(tiny_mace):
    """The same teacher in single precision."""
    return mace.from_checkpoint(str(tiny_mace), **{**OPTIONS, "dtype": "float32"})


@pytest.fixture(scope="module")
def model_file(tiny_mace, tmp_path_factory):
    """The same model in a file of mace-torch."""
    with default_dtype(torch.float32):
        module, _ = mace.mace_model.load(tiny_mace)
    file = tmp_path_factory.mktemp("pickled") / "tiny.model"
    torch.save(module, file)
    return file


@pytest.fixture(scope="module")
def two_headed_file(tmp_path_factory):
    """A model with two heads, for two levels of theory."""
    from e3nn.o3 import Irreps
    from mace.modules import ScaleShiftMACE, interaction_classes

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = ScaleShiftMACE(
            r_max=4.0,
            num_bessel=4,
            num_polynomial_cutoff=5,
            max_ell=1,
            interaction_cls=interaction_classes[mace.mace_model.BLOCK],
            interaction_cls_first=interaction_classes[mace.mace_model.BLOCK],
            num_interactions=2,
            num_elements=3,
            hidden_irreps=Irreps("4x0e"),
            MLP_irreps=Irreps("4x0e"),
            atomic_energies=np.array([[-13.0, -1030.0, -2043.0], [-12.0, -1020.0, -2000.0]]),
            avg_num_neighbors=4.0,
            atomic_numbers=[1, 6, 8],
            correlation=2,
            gate=torch.nn.functional.silu,
            radial_MLP=[8],
            atomic_inter_scale=[1.0, 2.0],
            atomic_inter_shift=[0.0, -1.0],
            heads=["pbe", "r2scan"],
        )
    file = tmp_path_factory.mktemp("pickled") / "two_headed.model"
    torch.save(module, file)
    return file


def calculator_of(file: Path, **options: str) -> Any:
    """mace-torch's own calculator."""
    from mace.calculators import MACECalculator

    model = torch.load(file, weights_only=False)
    return MACECalculator(models=model, device="cpu", default_dtype="float64", **options)


@pytest.mark.parametrize("precision", ["teacher", "single"])
@pytest.mark.parametrize("atoms", [ETHANOL, NITRIDE], ids=["molecule", "crystal"])
def test_atomic_energies_and_free_atoms_sum_to_the_energy(request, atoms, precision):
    label = labels_of(request.getfixturevalue(precision), atoms)
    free = sum(TINY_MACE["free_atom_energies"][str(z)] for z in atoms.numbers)
    assert abs(label.atomic_energies.sum() + free - label.energy) < 1e-10
    assert abs(label.atomic_energies).max() < 20


@pytest.mark.parametrize("atoms", [ETHANOL, NITRIDE], ids=["molecule", "crystal"])
def test_forces_are_the_negative_derivatives_of_the_energy(teacher, atoms):
    forces = labels_of(teacher, atoms).forces.reshape(-1)
    step = 1e-3
    for row in range(0, 3 * len(atoms), 2):
        one, two = (
            labels_of(teacher, displaced(atoms, row, n * step)).atomic_energies.sum()
            - labels_of(teacher, displaced(atoms, row, -n * step)).atomic_energies.sum()
            for n in (1, 2)
        )
        slope = (8 * one - two) / (12 * step)
        assert abs(forces[row] + slope) < 1e-7 * abs(forces).max()


@pytest.mark.parametrize("atoms", [ETHANOL, NITRIDE], ids=["molecule", "crystal"])
def test_hessian_rows_are_the_negative_derivatives_of_the_forces(teacher, atoms):
    rows = labels_of(teacher, atoms, range(3 * len(atoms))).hessian_rows
    step = 1e-3
    for row in range(0, 3 * len(atoms), 2):
        one, two = (
            labels_of(teacher, displaced(atoms, row, n * step)).forces
            - labels_of(teacher, displaced(atoms, row, -n * step)).forces
            for n in (1, 2)
        )
        slope = (8 * one - two) / (12 * step)
        np.testing.assert_allclose(rows[row], -slope, rtol=0, atol=1e-6 * abs(rows).max())


@pytest.mark.parametrize("atoms", [ETHANOL, NITRIDE], ids=["molecule", "crystal"])
def test_a_full_hessian_is_symmetric_and_invariant_to_translation(teacher, atoms):
    rows = labels_of(teacher, atoms, range(3 * len(atoms))).hessian_rows
    size = 3 * len(atoms)
    assert abs(rows).max() > 1
    np.testing.assert_allclose(rows.reshape(size, size), rows.reshape(size, size).T, rtol=0, atol=1e-12)
    np.testing.assert_allclose(rows.sum(axis=1), 0, rtol=0, atol=1e-12)


def test_energies_forces_and_hessian_are_those_of_mace_torch_itself(model_file):
    teacher = mace.from_checkpoint(str(model_file), **OPTIONS)
    calculator = calculator_of(model_file)
    for original in (ETHANOL, NITRIDE):
        label = labels_of(teacher, original, range(3 * len(original)))
        atoms = original.copy()
        atoms.calc = calculator
        assert abs(label.energy - atoms.get_potential_energy()) < 1e-9
        np.testing.assert_allclose(label.forces, atoms.get_forces(), rtol=0, atol=1e-11)
        np.testing.assert_allclose(label.atomic_energies, calculator.results["node_energy"], rtol=0, atol=1e-9)
        np.testing.assert_allclose(label.hessian_rows, calculator.get_hessian(atoms), rtol=0, atol=1e-11)


def test_a_file_and_a_directory_of_the_same_weights_give_the_same_labels(teacher, model_file):
    of_file = mace.from_checkpoint(str(model_file), **OPTIONS)
    agree(
        labels_of(of_file, ETHANOL, [0, 5]), labels_of(teacher, ETHANOL, [0, 5]), 1e-4
    )  # a file keeps buffers in float32
    assert of_file.identity.checkpoint != teacher.identity.checkpoint


def test_labels_do_not_depend_on_the_batch(teacher):
    many = [ETHANOL, NITRIDE, WATER, Atoms("O", [[1.0, 2.0, 3.0]])]
    rows = [np.array([26, 3, 7]), np.arange(24), np.array([], dtype=int), np.array([1])]
    together = teacher.label([frame_of(atoms) for atoms in many], rows)
    for atoms, ids, label in zip(many, rows, together, strict=True):
        assert label.hessian_rows.shape == (len(ids), len(atoms), 3)
        agree(label, labels_of(teacher, atoms, ids), 1e-12)


def test_an_isolated_atom_has_an_energy_and_no_forces(teacher):
    label = labels_of(teacher, Atoms("O", [[1.0, 2.0, 3.0]]), range(3))
    assert not label.forces.any()
    assert not label.hessian_rows.any()
    assert np.isfinite(label.energy)


def test_labels_do_not_change_under_translation(teacher):
    away = ETHANOL.copy()
    away.positions += [200.0, -120.0, 70.0]
    agree(labels_of(teacher, away, range(27)), labels_of(teacher, ETHANOL, range(27)), 1e-10)


def test_labels_of_a_crystal_do_not_depend_on_the_images_of_its_atoms(teacher):
    shifted = NITRIDE.copy()
    shifted.positions[2] += NITRIDE.cell[0] - 2 * NITRIDE.cell[1]
    shifted.positions += [0.3, 0.1, -0.2]
    agree(labels_of(teacher, shifted, range(24)), labels_of(teacher, NITRIDE, range(24)), 1e-10)


def test_atoms_of_a_crystal_interact_with_periodic_images(teacher):
    cluster = NITRIDE.copy()
    cluster.pbc = False
    assert abs(labels_of(teacher, NITRIDE).energy - labels_of(teacher, cluster).energy) > 0.1


def test_float32_is_close_to_float64_in_spite_of_large_free_atom_energies(single, teacher):
    label = labels_of(single, ETHANOL, range(27))
    assert label.forces.dtype == label.hessian_rows.dtype == np.float32
    agree(label, labels_of(teacher, ETHANOL, range(27)), 2e-5)


def test_coincident_atoms_affect_only_their_own_structure(teacher):
    spoilt = WATER.copy()
    spoilt.positions[1] = spoilt.positions[0]
    bad, good = teacher.label([frame_of(spoilt), frame_of(ETHANOL)], [np.arange(9), np.arange(27)])
    assert not bad.finite()
    agree(good, labels_of(teacher, ETHANOL, range(27)), 1e-12)


def test_an_unknown_element_is_refused(teacher):
    with pytest.raises(TeacherError, match=r"tiny does not know I .*knows H C N O"):
        labels_of(teacher, Atoms("HI", [[0, 0, 0], [0, 0, 1.6]]))


def test_the_identity_has_elements_licence_and_versions(teacher, single):
    assert teacher.identity.elements == (1, 6, 7, 8)
    assert teacher.identity.licence == "MIT"
    assert teacher.identity.versions["mace-torch"]
    assert single.identity == replace(teacher.identity, dtype="float32")


def test_loading_and_labelling_have_no_output_and_no_global_side_effects(tiny_mace):
    script = f"""
import os, numpy as np, torch
from jointkd.structures.frame import Frame
from jointkd.teachers import mace
torch.manual_seed(5)
expected = torch.rand(3)
torch.manual_seed(5)
teacher = mace.from_checkpoint({str(tiny_mace)!r}, **{OPTIONS!r})
frame = Frame(np.array([8, 1, 1]), np.array([[0, 0, 0], [1, 0, 0], [0, 1.0, 0]]))
for _ in range(2):
    assert teacher.label([frame], [np.arange(9)])[0].finite()
assert torch.equal(torch.rand(3), expected)
assert torch.get_default_dtype() == torch.float32
assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_without_mace_torch_the_error_names_the_extra_to_install(tiny_mace, monkeypatch):
    monkeypatch.setitem(sys.modules, "mace.calculators", None)
    with pytest.raises(MissingExtra, match=r"pip install 'jointkd\[mace\]'"):
        mace.from_checkpoint(str(tiny_mace), **OPTIONS)


def test_a_missing_file_is_an_error_that_names_it():
    with pytest.raises(TeacherError, match=r"teacher\.checkpoint=/nowhere/x\.model does not exist"):
        mace.from_checkpoint("/nowhere/x.model", **OPTIONS)


@pytest.mark.parametrize(
    "content", [b"", b"no model", {"weights": torch.zeros(3)}], ids=["empty", "text", "dictionary"]
)
def test_a_file_without_a_model_is_an_error_that_names_it(tmp_path, content):
    file = tmp_path / "x.model"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(TeacherError, match=r"x\.model cannot be loaded as a MACE model"):
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


@pytest.mark.parametrize("head", [None, "ccsd"])
def test_one_of_several_heads_must_be_chosen(two_headed_file, head):
    with pytest.raises(TeacherError, match=f"teacher.head={head or 'null'} must be a head of tiny") as caught:
        mace.from_checkpoint(str(two_headed_file), **OPTIONS, head=head)
    assert "pbe, r2scan" in caught.value.remedy


def test_an_unknown_head_of_a_model_with_one_head_is_refused(teacher, tiny_mace):
    with pytest.raises(TeacherError, match=r"teacher\.head=pbe must be a head"):
        mace.teacher(teacher.module, tiny_mace, **OPTIONS, head="pbe")


def test_labels_are_those_of_the_chosen_head_with_its_own_free_atoms(two_headed_file):
    energies = []
    for head, hydrogen in (("pbe", -13.0), ("r2scan", -12.0)):
        teacher = mace.from_checkpoint(str(two_headed_file), **OPTIONS, head=head)
        atoms = WATER.copy()
        atoms.calc = calculator_of(two_headed_file, head=head)
        label = labels_of(teacher, atoms)
        assert abs(label.energy - atoms.get_potential_energy()) < 1e-9
        np.testing.assert_allclose(label.forces, atoms.get_forces(), rtol=0, atol=1e-11)
        assert teacher.identity.free_atom_energies[1] == hydrogen
        assert teacher.identity.fingerprint()["head"] == head
        energies.append(label.atomic_energies.sum())
    assert abs(energies[0] - energies[1]) > 0.1


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


@pytest.mark.parametrize(("licence", "warned"), [("ASL (non-commercial)", True), ("MIT", False), ("", False)])
def test_a_licence_that_forbids_commercial_use_causes_a_warning(teacher, caplog, licence, warned):
    log_identity(replace(teacher.identity, licence=licence))
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == warned
    assert all("NOT FOR COMMERCIAL USE" in message for message in warnings)

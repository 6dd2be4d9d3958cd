"""eSEN checkpoints of fairchem-core 1.10."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from omegaconf import OmegaConf

from jointkd.cli.config_tree import CONF
from jointkd.errors import DataError, TeacherError
from jointkd.structures.frame import Frame
from jointkd.teachers import esen, fairchem_model
from tests.fairchem_env.checkpoints import RMSD, write_1x
from tests.fairchem_env.conftest import OPTIONS
from tests.labelled import agree, labels_of
from tests.structures import ETHANOL, SALT, WATER

pytest.importorskip("fairchem.core", reason="fairchem-core is not installed: make env-fairchem")

CASES = json.loads((Path(__file__).parent / "esen_1x.json").read_text())["cases"]


def teacher_of(path: Path, **options):
    return esen.from_checkpoint("esen", checkpoint=str(path), **{**OPTIONS, **options})


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_energies_forces_and_rows_are_those_of_fairchem_core_1(esen, case):
    numbers, positions, cell = (np.array(case[name]) for name in ("numbers", "positions", "cell"))
    frame = Frame(numbers, positions, cell.astype(float), np.full(3, case["periodic"]))
    (labels,) = esen.label([frame], [np.array(case["row_ids"])])
    for name in ("energy", "forces", "hessian_rows"):
        np.testing.assert_allclose(getattr(labels, name), case[name], rtol=0, atol=1e-13, err_msg=name)


def test_labels_are_correct_for_edges_along_an_axis(esen):
    upright = Atoms("OH2", [[0, 0, 0], [0, 0.96, 0], [0.93, -0.24, 0]])
    turned = upright.copy()
    turned.rotate(47, (0.3, 0.5, 0.8), center=(0, 0, 0))
    first, second = labels_of(esen, upright, range(9)), labels_of(esen, turned, range(9))
    np.testing.assert_allclose(second.energy, first.energy, rtol=1e-13)
    for labels in (first, second):
        square = labels.hessian_rows.reshape(9, 9)
        np.testing.assert_allclose(square, square.T, rtol=0, atol=1e-13)
    spectra = [np.linalg.eigvalsh(labels.hessian_rows.reshape(9, 9)) for labels in (first, second)]
    np.testing.assert_allclose(spectra[0], spectra[1], rtol=0, atol=1e-12)


def test_ideal_crystals_have_no_forces(esen):
    ideal = Atoms("NaCl", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[3.4] * 3, pbc=True)
    np.testing.assert_allclose(labels_of(esen, ideal).forces, 0, atol=1e-13)


def test_float32_labels_are_close_to_those_in_float64(esen, esen_file):
    single = teacher_of(esen_file, dtype="float32")
    for atoms in (ETHANOL, SALT):
        agree(labels_of(single, atoms, [0, 5]), labels_of(esen, atoms, [0, 5]), 2e-6)


def test_the_identity_has_elements_licence_and_versions(esen, esen_file):
    assert esen.identity.versions.keys() == {"torch", "fairchem-core", "e3nn"}
    assert esen.identity.elements == tuple(range(1, 100))
    chosen = teacher_of(esen_file, elements=["O", "H"], licence="L", citation=None)
    assert (chosen.identity.elements, chosen.identity.licence, chosen.identity.citation) == ((1, 8), "L", "")
    assert len(OmegaConf.load(CONF / "teacher" / "esen_oam.yaml").elements) == 89


def test_the_running_average_of_the_weights_is_used_if_there_is_one(esen, esen_file, tmp_path):
    state = torch.load(esen_file, weights_only=False)["state_dict"]
    shadow = [value for name, value in state.items() if not esen_constant(name)]
    half = {name: value if esen_constant(name) else value / 2 for name, value in state.items()}
    file = write_1x(tmp_path / "last.pt", ema={"shadow_params": shadow, "decay": 0.999}, state_dict=half)
    agree(labels_of(teacher_of(file), WATER, [2]), labels_of(esen, WATER, [2]), 1e-14)
    short = write_1x(tmp_path / "short.pt", ema={"shadow_params": shadow[:-1]})
    with pytest.raises(TeacherError, match="its running average does not have the shapes of its weights"):
        teacher_of(short)


def esen_constant(name: str) -> bool:
    return bool(esen.CONSTANT.search(name))


SCALE = {"mean": torch.tensor(0.0), "rmsd": torch.tensor(RMSD)}
REFUSED = {
    "direct forces": (
        {"heads": {"e": {"module": "esen_mlp_energy_head"}, "f": {"module": "esen_linear_force_head"}}},
        "only the forces of esen_mlp_efs_head are derivatives of the energy",
    ),
    "another basis": ({"backbone": {"distance_function": "bessel"}}, "distance_function=bessel and use_envelope=True"),
    "no envelope": ({"backbone": {"use_envelope": False}}, "use_envelope=False, and fairchem-core 2.x supports only"),
    "another model": ({"config": {"model": {"name": "painn"}}}, "its model is painn, not esen_backbone"),
    "another size": ({"backbone": {"sphere_channels": 16}}, "its weights do not fit its settings"),
    "another activation": ({"backbone": {"norm_type": "none"}}, "fairchem-core 2.x does not accept its settings"),
    "other scales": (
        {"normalizers": {"energy": SCALE, "forces": {**SCALE, "rmsd": torch.tensor(1.0)}}},
        "its forces are scaled by 1 (mean 0) and its energy by 1.423, so its forces are not derivatives of its energy",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_checkpoint_that_cannot_be_converted_is_refused_with_the_reason(case, tmp_path):
    changes, message = REFUSED[case]
    file = write_1x(tmp_path / "other.pt", **changes)
    with pytest.raises(TeacherError) as caught:
        teacher_of(file)
    assert str(caught.value).startswith(f"TeacherError: {file} cannot be converted: ")
    assert message in str(caught.value)


def test_a_missing_weight_is_an_error_that_names_it(tmp_path):
    name = "backbone.blocks.1.edge_wise.so2_conv_1.fc_m0.weight"
    saved = torch.load(write_1x(tmp_path / "short.pt"), weights_only=False)
    del saved["state_dict"][name]
    torch.save(saved, file := tmp_path / "short.pt")
    with pytest.raises(TeacherError, match=rf"\(1 differ: {name}"):
        teacher_of(file)


def test_a_checkpoint_that_needs_code_is_refused(tmp_path):
    file = write_1x(tmp_path / "code.pt", val_metrics=Path("a"))
    with pytest.raises(DataError, match=r"^DataError: teacher\.checkpoint=.* can only be read by running .*\(pathlib"):
        teacher_of(file)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda e, f: (e + 1e-3, f), "its atomic energies do not sum to its energy"),
        (lambda e, f: (e, f * 1.0001), "its forces are not the derivatives of its energy"),
    ],
)
def test_a_conversion_that_fails_its_check_is_refused(esen_file, monkeypatch, spoil, message):
    check = fairchem_model.check
    monkeypatch.setattr(esen, "check", lambda teacher, predict: check(teacher, lambda batch: spoil(*predict(batch))))
    with pytest.raises(TeacherError, match=rf"^TeacherError: esen fails its check: {message} \(off by .*, bound"):
        teacher_of(esen_file)


def test_forces_that_are_not_finite_differences_of_energies_fail_the_check(esen_file, monkeypatch):
    atomic_energies = fairchem_model.FairchemTeacher.atomic_energies

    def kinked(self, batch):
        atomic = atomic_energies(self, batch)
        return atomic + 0.1 * batch.pos.detach().norm(dim=1)

    monkeypatch.setattr(fairchem_model.FairchemTeacher, "atomic_energies", kinked)
    check = fairchem_model.check

    def with_the_same_totals(teacher, predict):
        def shifted(batch):
            kink = 0.1 * batch.pos.detach().norm(dim=1)
            energies, forces = predict(batch)
            return energies + torch.zeros_like(energies).index_add(0, batch.batch, kink), forces

        check(teacher, shifted)

    monkeypatch.setattr(esen, "check", with_the_same_totals)
    with pytest.raises(TeacherError, match="its forces are not finite differences of its energies"):
        teacher_of(esen_file)


def test_loading_does_not_change_the_random_number_generators(esen_file):
    def draws():
        return random.random(), np.random.random(), float(torch.rand(1))  # noqa: NPY002

    def seeded():
        random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002

    seeded()
    expected = draws()
    seeded()
    teacher_of(esen_file)
    assert draws() == expected


def test_the_file_is_downloaded_from_the_hub(esen_file, monkeypatch):
    requests = []

    def download(*arguments, **_):
        requests.append(arguments)
        return str(esen_file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    esen.from_checkpoint("esen", repo="elsewhere/OMAT24", file="a.pt", **OPTIONS)
    assert requests == [("elsewhere/OMAT24", "a.pt")]

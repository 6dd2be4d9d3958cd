"""Models of fairchem-core 2.x, by name or from a file, and downloads from the Hugging Face hub."""

import re
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from jointkd.cli.config_tree import CONF
from jointkd.errors import TeacherError
from jointkd.teachers import fairchem, hub
from jointkd.teachers.fairchem_model import Architecture
from tests.fairchem_env.checkpoints import write_1x, write_2x
from tests.fairchem_env.conftest import OPTIONS
from tests.labelled import agree, labels_of
from tests.structures import ETHANOL, WATER

pytest.importorskip("fairchem.core", reason="fairchem-core is not installed: make env-fairchem")


def teacher_of(path: Path, task: str = "omol", **options):
    return fairchem.from_name(str(path), "uma", task=task, **{**OPTIONS, **options})


def test_labels_are_what_fairchem_core_predicts_for_charge_spin_and_task(uma, uma_file):
    from ase import Atoms
    from fairchem.core import FAIRChemCalculator
    from fairchem.core.units.mlip_unit import InferenceSettings, load_predict_unit

    settings = InferenceSettings(base_precision_dtype="float64", execution_mode="general")
    unit = load_predict_unit(uma_file, settings, device="cpu")
    for task, charge, spin in (("omol", 0, 1), ("omol", -1, 2), ("omat", 0, 0)):
        atoms = Atoms(WATER.numbers, WATER.positions, info={"charge": charge, "spin": spin})
        atoms.calc = FAIRChemCalculator(unit, task_name=task)
        labels = labels_of(teacher_of(uma_file, task, charge=charge, spin=spin), WATER)
        assert labels.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        assert labels.forces == pytest.approx(atoms.get_forces(), abs=1e-9)


def test_charge_and_spin_of_a_structure_take_precedence(uma, uma_file):
    neutral, cation = labels_of(uma, ETHANOL, [2]), labels_of(uma, ETHANOL, [2], charge=1, spin=2)
    assert abs(cation.energy - neutral.energy) > 1e-3
    agree(cation, labels_of(teacher_of(uma_file, charge=1, spin=2), ETHANOL, [2]), 1e-14)
    agree(neutral, labels_of(teacher_of(uma_file, charge=1, spin=2), ETHANOL, [2], charge=0, spin=1), 1e-14)
    with pytest.raises(TeacherError, match=r"charge=0\.5 of .* must be an integer"):
        labels_of(uma, ETHANOL, charge=0.5)


def test_the_default_spin_depends_on_the_task(uma, uma_file):
    assert uma.state.spin == 1
    assert teacher_of(uma_file, "omat").state.spin == 0
    assert teacher_of(uma_file, "omat", spin=3).state.spin == 3


def test_an_unknown_task_is_refused(uma_file):
    with pytest.raises(
        TeacherError, match=r"task=oc20 must be a task that uma was trained on; choose one of omat, omol"
    ):
        teacher_of(uma_file, "oc20")


def test_a_model_that_predicts_forces_directly_is_refused(tmp_path):
    with pytest.raises(TeacherError, match="uma predicts forces directly: they are not derivatives of an energy"):
        teacher_of(write_2x(tmp_path / "direct.pt", direct_forces=True))


def test_a_model_of_an_unknown_architecture_is_refused(uma_file, monkeypatch):
    monkeypatch.setattr("jointkd.teachers.fairchem_model.ARCHITECTURES", {"X": Architecture("readout")})
    with pytest.raises(
        TeacherError, match=r"uma must have one layer known to output atomic energies, but it has 0; choose .* X"
    ):
        teacher_of(uma_file)


def test_an_unknown_precision_is_refused(uma_file):
    with pytest.raises(TeacherError, match=r"teacher\.dtype=float16 must be float64 or float32"):
        teacher_of(uma_file, dtype="float16")


def test_a_checkpoint_of_fairchem_core_1_is_refused_with_the_teacher_for_it(tmp_path):
    with pytest.raises(TeacherError, match=r"cannot be loaded by fairchem-core 2.* choose teacher=esen_oam"):
        teacher_of(write_1x(tmp_path / "old.pt"))


def test_an_unknown_name_is_refused_with_the_list_of_known_ones():
    with pytest.raises(TeacherError, match=r"checkpoint=uma-x must be a file or a name .*uma-s-1p1.*conserving"):
        teacher_of(Path("uma-x"))


def test_a_known_name_is_downloaded_from_its_repository_or_a_given_one(uma_file, monkeypatch):
    requests = []

    def download(repo, filename, **options):
        requests.append((repo, options["subfolder"], filename))
        return str(uma_file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert fairchem.file_of("uma-s-1p1", None) == uma_file
    assert fairchem.file_of("uma-s-1p1", "other/UMA") == uma_file
    assert requests == [(repo, "checkpoints", "uma-s-1p1.pt") for repo in ("facebook/UMA", "other/UMA")]


def test_the_level_of_theory_is_known_for_names_and_not_for_files(uma_file, monkeypatch):
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(uma_file))
    theories = {
        ("uma-s-1p2p1", "omol"): "ωB97M-V/def2-TZVPD",
        ("uma-m-1p1", "omat"): "PBE(+U), OMat24 settings",
        ("uma-s-1p2p1-ft-d4rev", "omol"): "ωB97M-D4rev",
        (str(uma_file), "omol"): "",
    }
    for (checkpoint, task), theory in theories.items():
        assert teacher_of(Path(checkpoint), task, level_of_theory=None).identity.level_of_theory == theory
    assert teacher_of(Path("uma-s-1p1"), level_of_theory="mine").identity.level_of_theory == "mine"


def test_models_of_one_task_are_averaged(uma, file_2x, teacher_2x):
    options = OmegaConf.load(CONF / "teacher" / "ensemble_fairchem.yaml")
    files = [str(file_2x(architecture)) for architecture in ("uma", "esen_2x")]
    del options.defaults
    chosen = {"task": "omol", "checkpoints": files, **OPTIONS}
    both = instantiate(OmegaConf.merge({"teacher": options}, {"teacher": chosen}).teacher)
    labels, *single = (labels_of(teacher, ETHANOL, [4]) for teacher in (both, uma, teacher_2x("esen_2x")))
    assert labels.energy == pytest.approx(np.mean([one.energy for one in single]), abs=1e-12)
    np.testing.assert_allclose(labels.hessian_rows, sum(one.hessian_rows for one in single) / 2, rtol=0, atol=1e-12)
    assert labels.spread.energy == pytest.approx(np.std([one.energy for one in single], ddof=1))
    assert both.identity.members == 2


def hub_error(kind: str) -> Exception:
    """An error of the hub's client."""
    import httpx
    from huggingface_hub import errors

    error = getattr(errors, kind, OSError)
    if not issubclass(error, errors.HfHubHTTPError):
        return error("no")
    return error("no", response=httpx.Response(403, request=httpx.Request("GET", "https://huggingface.co")))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "GatedRepoError",
            "gives access to a.pt only on request; accept its licence there, then run",
        ),
        (
            "RepositoryNotFoundError",
            "a.pt does not exist at https://huggingface.co/o/r, or is not visible to you; name",
        ),
        ("LocalEntryNotFoundError", "a.pt is not in the cache, and https://huggingface.co/o/r cannot be reached"),
        ("RemoteEntryNotFoundError", "a.pt does not exist at https://huggingface.co/o/r, or is not visible to you"),
        ("HfHubHTTPError", "a.pt of https://huggingface.co/o/r could not be downloaded (no); download it elsewhere"),
        ("OSError", "a.pt of https://huggingface.co/o/r could not be downloaded (no)"),
    ],
)
def test_errors_of_the_hub_are_reported_with_a_remedy(kind, message, monkeypatch):
    def refuse(*_, **__):
        raise hub_error(kind)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(TeacherError, match=re.escape(message)):
        hub.fetch("o/r", "a.pt")


def test_without_a_network_the_real_client_leads_to_the_same_error(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(TeacherError, match=r"esen_30m_oam\.pt is not in the cache, and .*/OMAT24 cannot be reached"):
        hub.fetch("facebook/OMAT24", "esen_30m_oam.pt", cache=str(tmp_path))

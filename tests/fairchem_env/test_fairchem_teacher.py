"""Models of fairchem-core 2.x, by name or from a file, and the hub that they come from."""

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
from tests.fairchem_env.labelled import ETHANOL, WATER, agree, labels_of

pytest.importorskip("fairchem.core", reason="fairchem-core is not here: make env-fairchem")


def teacher_of(path: Path, task: str = "omol", **options):
    return fairchem.from_name(str(path), "uma", task=task, **{**OPTIONS, **options})


def test_labels_are_what_fairchem_core_predicts_of_charge_spin_and_task(uma, uma_file):
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


def test_charge_and_spin_are_those_of_a_structure_where_it_says_them(uma, uma_file):
    neutral, cation = labels_of(uma, ETHANOL, [2]), labels_of(uma, ETHANOL, [2], charge=1, spin=2)
    assert abs(cation.energy - neutral.energy) > 1e-3
    agree(cation, labels_of(teacher_of(uma_file, charge=1, spin=2), ETHANOL, [2]), 1e-14)
    agree(neutral, labels_of(teacher_of(uma_file, charge=1, spin=2), ETHANOL, [2], charge=0, spin=1), 1e-14)
    with pytest.raises(TeacherError, match=r"says charge=0\.5; give an integer"):
        labels_of(uma, ETHANOL, charge=0.5)


def test_molecules_are_singlets_and_other_tasks_have_no_spin_unless_one_is_given(uma, uma_file):
    assert uma.state.spin == 1
    assert teacher_of(uma_file, "omat").state.spin == 0
    assert teacher_of(uma_file, "omat", spin=3).state.spin == 3


def test_a_task_that_the_model_was_not_trained_on_is_refused(uma_file):
    with pytest.raises(TeacherError, match=r"task=oc20 is none that uma was trained on; choose one of omat, omol"):
        teacher_of(uma_file, "oc20")


def test_a_model_that_predicts_forces_directly_is_refused(tmp_path):
    with pytest.raises(TeacherError, match="uma predicts forces directly: they are no derivatives of its energy"):
        teacher_of(write_2x(tmp_path / "direct.pt", direct_forces=True))


def test_a_model_of_an_unknown_architecture_is_refused(uma_file, monkeypatch):
    monkeypatch.setattr("jointkd.teachers.fairchem_model.ARCHITECTURES", {"X": Architecture("readout")})
    with pytest.raises(TeacherError, match=r"uma has 0 layers that are known to give energies .* that is X"):
        teacher_of(uma_file)


def test_a_precision_that_is_none_is_refused(uma_file):
    with pytest.raises(TeacherError, match=r"teacher\.dtype=float16 is no precision of fairchem-core"):
        teacher_of(uma_file, dtype="float16")


def test_a_file_of_fairchem_core_1_is_refused_with_the_teacher_it_is_for(tmp_path):
    with pytest.raises(TeacherError, match=r"is no model that fairchem-core 2.* loads .*are for teacher=esen_oam"):
        teacher_of(write_1x(tmp_path / "old.pt"))


def test_a_name_that_is_not_known_is_answered_with_those_that_are():
    with pytest.raises(TeacherError, match=r"checkpoint=uma-x is no file, and no name .*uma-s-1p1.*conserving"):
        teacher_of(Path("uma-x"))


def test_a_known_name_is_fetched_from_its_repository_or_the_one_that_was_given(uma_file, monkeypatch):
    asked = []

    def fetched(repo, filename, **options):
        asked.append((repo, options["subfolder"], filename))
        return str(uma_file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetched)
    assert fairchem.file_of("uma-s-1p1", None) == uma_file
    assert fairchem.file_of("uma-s-1p1", "other/UMA") == uma_file
    assert asked == [(repo, "checkpoints", "uma-s-1p1.pt") for repo in ("facebook/UMA", "other/UMA")]


def test_a_name_says_its_level_of_theory_and_a_file_does_not(uma_file, monkeypatch):
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
    labels, *alone = (labels_of(teacher, ETHANOL, [4]) for teacher in (both, uma, teacher_2x("esen_2x")))
    assert labels.energy == pytest.approx(np.mean([one.energy for one in alone]), abs=1e-12)
    np.testing.assert_allclose(labels.hessian_rows, sum(one.hessian_rows for one in alone) / 2, rtol=0, atol=1e-12)
    assert labels.spread.energy == pytest.approx(np.std([one.energy for one in alone], ddof=1))
    assert both.identity.members == 2


def answered(kind: str) -> Exception:
    """An error as the hub's client raises it."""
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
            "gives a.pt only to those whom it has let in; accept its licence there, then run",
        ),
        (
            "RepositoryNotFoundError",
            "there is no a.pt at https://huggingface.co/o/r that you may see; name",
        ),
        ("LocalEntryNotFoundError", "a.pt is not in the cache, and https://huggingface.co/o/r cannot be reached"),
        ("RemoteEntryNotFoundError", "there is no a.pt at https://huggingface.co/o/r that you may see"),
        ("HfHubHTTPError", "a.pt of https://huggingface.co/o/r could not be fetched (no); fetch it elsewhere"),
        ("OSError", "a.pt of https://huggingface.co/o/r could not be fetched (no)"),
    ],
)
def test_what_the_hub_refuses_is_said_with_what_to_do(kind, message, monkeypatch):
    def refuse(*_, **__):
        raise answered(kind)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(TeacherError, match=re.escape(message)):
        hub.fetch("o/r", "a.pt")


def test_without_a_network_the_real_client_ends_in_that_line(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(TeacherError, match=r"esen_30m_oam\.pt is not in the cache, and .*/OMAT24 cannot be reached"):
        hub.fetch("facebook/OMAT24", "esen_30m_oam.pt", cache=str(tmp_path))

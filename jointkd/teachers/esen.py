"""eSEN models of fairchem-core 1.x, eSEN-30M-OAM first, as models of fairchem-core 2.x with the same weights.

Converted and not run by fairchem-core 1.x, whose rotations are wrong for edges along ±y: forces by up to 10 %.
Source: Fu et al., arXiv:2502.12147; the parameters have the same names in both versions.
"""

import logging
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jointkd.errors import TeacherError
from jointkd.files.fairchem_v1 import element_references, named_weights, normaliser, read_checkpoint
from jointkd.runtime import default_dtype, device_of
from jointkd.teachers.fairchem import check_precision, identity_of, import_fairchem, undisturbed
from jointkd.teachers.fairchem_model import FairchemTeacher, Scale, State, check
from jointkd.teachers.hub import fetch

log = logging.getLogger(__name__)

HEAD = "esen_mlp_efs_head"  # of conserving models: forces are derivatives of the energy
HEAD_NOW = {"module": "fairchem.core.models.uma.escn_md.MLP_EFS_Head", "wrap_property": False}
SAME = (  # settings that have the same name and meaning in both versions
    "max_num_elements", "sphere_channels", "lmax", "mmax", "grid_resolution", "max_neighbors", "cutoff",
    "edge_channels", "num_distance_basis", "num_layers", "hidden_channels", "norm_type", "act_type",
)  # fmt: skip
DEFAULTS = {"norm_type": "rms_norm_sh", "act_type": "s2", "mlp_type": "grid", "distance_function": "gaussian"}
ADDED = ("charge_embedding.", "spin_embedding.", "mix_csd.")  # what only 2.x has: embeddings of charge and spin
CONSTANT = re.compile(r"expand_index|balance_degree_weight|degree_scalar_weight|offset|Jd_\d")  # buffers, saved by 1.x


def from_checkpoint(
    name: str,
    dtype: str,
    device: str | None,
    batch_atoms: int | None,
    checkpoint: str | None = None,
    repo: str = "facebook/OMAT24",
    file: str = "esen_30m_oam.pt",
    head: str | None = None,
    **about: Any,
) -> FairchemTeacher:
    """A teacher from a checkpoint of fairchem-core 1.x; checkpoint: its path, or null for `file` of the hub's `repo`.

    Raises MissingExtra, DataError for what is no such checkpoint, TeacherError where it cannot be fetched, converted,
    or where what was converted fails its check.
    """
    import_fairchem()
    check_precision(dtype)
    device = device_of(device, "teacher.device")
    path = Path(checkpoint).expanduser() if checkpoint else fetch(repo, file)
    saved = read_checkpoint(path, "teacher.checkpoint")
    scale = scale_of(saved, path)
    with undisturbed():
        model = converted(saved, path, getattr(torch, dtype))
        identity = identity_of(name, path, dtype, scale, model, head, **about)
        teacher = FairchemTeacher(model, scale, identity, device, batch_atoms, State())

        def predict(batch: Any) -> tuple[Tensor, Tensor]:
            answers = model(batch)
            return answers["energy"]["energy"] * scale.rmsd + scale.mean, answers["energy"]["forces"] * scale.rmsd

        check(teacher, predict)
    count = sum(parameter.numel() for key, parameter in model.named_parameters() if not added(key))
    log.info("%s: eSEN of fairchem-core 1.x, %s parameters, converted and checked", path.name, f"{count:,}")
    return teacher


def scale_of(saved: dict[str, Any], path: Path) -> Scale:
    """How energies were scaled in training. Raises TeacherError where forces were scaled otherwise."""
    mean, rmsd = (float(value) for value in normaliser(saved, "energy"))
    force_mean, force_rmsd = (float(value) for value in normaliser(saved, "forces"))
    if force_rmsd != rmsd or force_mean != 0:
        raise refused(
            path,
            f"its forces are scaled by {force_rmsd:g} (mean {force_mean:g}) and its energy by {rmsd:g}, so that they "
            "are no derivatives of it",
        )
    return Scale(rmsd, mean, element_references(saved))


def converted(saved: dict[str, Any], path: Path, dtype: torch.dtype) -> Any:
    """A model of fairchem-core 2.x with the architecture and weights of a checkpoint of 1.x. Raises TeacherError."""
    from fairchem.core.models.base import HydraModel

    backbone, head = architecture(saved, path)
    try:
        with default_dtype(dtype):  # constants are computed as the model is built
            model = HydraModel(backbone=backbone, heads={"energy": HEAD_NOW})
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        raise refused(path, f"its settings are none of fairchem-core 2.x ({error})") from error
    named = named_weights(saved)
    weights = chosen_weights(saved, named, head, path)
    parameters = dict(model.named_parameters())
    wanted = {key: parameter.shape for key, parameter in parameters.items() if not added(key)}
    found = {key: value.shape for key, value in weights.items()}
    if wanted != found:
        differing = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
        raise refused(path, f"its weights are not those of its settings ({len(differing)} differ: {differing[0]}, …)")
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(weights[key] if key in weights else torch.zeros_like(parameter))
        for key, constant in model.named_buffers():
            if key in named and constant.is_floating_point():  # numbers: rounded as in training; orders differ
                constant.copy_(named[key])
    return model


def architecture(saved: dict[str, Any], path: Path) -> tuple[dict[str, Any], str]:
    """The backbone of a checkpoint as 2.x describes it, and the name of its head. Raises TeacherError."""
    model = saved["config"].get("model")
    model = model if isinstance(model, dict) else {}
    backbone, heads = model.get("backbone") or {}, model.get("heads") or {}
    if backbone.get("model") != "esen_backbone":
        named = backbone.get("model") or model.get("name") or saved["config"].get("model")
        raise refused(path, f"it is of model {named}, not esen_backbone")
    modules = {name: head.get("module") for name, head in heads.items()}
    if list(modules.values()) != [HEAD]:
        raise refused(path, f"its heads are {modules}, and only {HEAD} gives forces that are derivatives of its energy")
    settings = {**DEFAULTS, **backbone}
    if settings["distance_function"] != "gaussian" or not settings.get("use_envelope"):
        raise refused(
            path,
            f"it has distance_function={settings['distance_function']} and use_envelope={settings.get('use_envelope')}"
            ", and fairchem-core 2.x only gaussian and true",
        )
    return {
        "model": "fairchem.core.models.uma.escn_md.eSCNMDBackbone",
        **{name: settings[name] for name in SAME if name in settings},
        "ff_type": settings["mlp_type"],
        "direct_forces": False,
        "regress_forces": True,
        "regress_stress": False,
        "otf_graph": True,
        "always_use_pbc": False,
        "use_dataset_embedding": False,
        "use_quaternion_wigner": True,
    }, next(iter(modules))


def chosen_weights(saved: dict[str, Any], named: dict[str, Tensor], head: str, path: Path) -> dict[str, Tensor]:
    """The parameters under their names in 2.x: the running average where the checkpoint has one, else the last.

    The average has no names: it is in the order of the parameters.
    """
    state = {name: value for name, value in named.items() if not CONSTANT.search(name)}
    state = {re.sub(rf"^output_heads\.{re.escape(head)}\.", "output_heads.energy.", key): v for key, v in state.items()}
    shadow = (saved.get("ema") or {}).get("shadow_params")
    if shadow is None:
        return state
    if [value.shape for value in shadow] != [value.shape for value in state.values()]:
        raise refused(path, "its running average does not have the shapes of its weights")
    log.info("%s: its running average of the weights is taken", path.name)
    return dict(zip(state, shadow, strict=True))


def added(parameter: str) -> bool:
    """Whether a parameter is one that only 2.x has. All are set to zero, where they add nothing."""
    return parameter.removeprefix("backbone.").startswith(ADDED)


def refused(path: Path, why: str) -> TeacherError:
    return TeacherError(
        f"{path} cannot be converted: {why}", "give a conserving eSEN of fairchem-core 1.x, such as esen_30m_oam.pt"
    )

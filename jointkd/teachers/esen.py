"""eSEN models of fairchem-core 1.x, such as eSEN-30M-OAM, converted to models of fairchem-core 2.x.

They are not run by fairchem-core 1.x itself because its rotations are wrong for edges along ±y, which changes forces by
up to 10 %. Source: Fu et al., arXiv:2502.12147; the parameters have the same names in both versions.
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
from jointkd.teachers.fairchem import check_precision, identity_of, import_fairchem, without_side_effects
from jointkd.teachers.fairchem_model import FairchemTeacher, Scale, State, check
from jointkd.teachers.hub import fetch

log = logging.getLogger(__name__)

HEAD = "esen_mlp_efs_head"  # of conservative models, whose forces are derivatives of the energy
HEAD_2X = {"module": "fairchem.core.models.uma.escn_md.MLP_EFS_Head", "wrap_property": False}
SAME = (  # settings with the same name and meaning in both versions
    "max_num_elements", "sphere_channels", "lmax", "mmax", "grid_resolution", "max_neighbors", "cutoff",
    "edge_channels", "num_distance_basis", "num_layers", "hidden_channels", "norm_type", "act_type",
)  # fmt: skip
DEFAULTS = {"norm_type": "rms_norm_sh", "act_type": "s2", "mlp_type": "grid", "distance_function": "gaussian"}
ADDED = ("charge_embedding.", "spin_embedding.", "mix_csd.")  # parameters of 2.x only: embeddings of charge and spin
CONSTANT = re.compile(r"expand_index|balance_degree_weight|degree_scalar_weight|offset|Jd_\d")  # buffers that 1.x saves


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
    """A teacher from a checkpoint of fairchem-core 1.x. checkpoint: its path; None: `file` of `repo` on the hub.

    Raises MissingExtra, DataError for other files, TeacherError if the checkpoint cannot be downloaded or converted, or
    the converted model fails its check.
    """
    import_fairchem()
    check_precision(dtype)
    device = device_of(device, "teacher.device")
    path = Path(checkpoint).expanduser() if checkpoint else fetch(repo, file)
    saved = read_checkpoint(path, "teacher.checkpoint")
    scale = scale_of(saved, path)
    with without_side_effects():
        model = convert_model(saved, path, getattr(torch, dtype))
        identity = identity_of(name, path, dtype, scale, model, head, **about)
        teacher = FairchemTeacher(model, scale, identity, device, batch_atoms, State())

        def predict(batch: Any) -> tuple[Tensor, Tensor]:
            output = model(batch)["energy"]
            return output["energy"] * scale.rmsd + scale.mean, output["forces"] * scale.rmsd

        check(teacher, predict)
    count = sum(parameter.numel() for key, parameter in model.named_parameters() if not only_in_2x(key))
    log.info("%s: eSEN of fairchem-core 1.x, %s parameters, converted and checked", path.name, f"{count:,}")
    return teacher


def scale_of(saved: dict[str, Any], path: Path) -> Scale:
    """The scale of energies in training. Raises TeacherError if forces have another scale."""
    mean, rmsd = (float(value) for value in normaliser(saved, "energy"))
    force_mean, force_rmsd = (float(value) for value in normaliser(saved, "forces"))
    if force_rmsd != rmsd or force_mean != 0:
        raise cannot_convert(
            path,
            f"its forces are scaled by {force_rmsd:g} (mean {force_mean:g}) and its energy by {rmsd:g}, so its forces "
            "are not derivatives of its energy",
        )
    return Scale(rmsd, mean, element_references(saved))


def convert_model(saved: dict[str, Any], path: Path, dtype: torch.dtype) -> Any:
    """A model of fairchem-core 2.x with the architecture and weights of a checkpoint of 1.x. Raises TeacherError."""
    from fairchem.core.models.base import HydraModel

    backbone, head = read_architecture(saved, path)
    try:
        with default_dtype(dtype):  # constants are computed as the model is built
            model = HydraModel(backbone=backbone, heads={"energy": HEAD_2X})
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        raise cannot_convert(path, f"fairchem-core 2.x does not accept its settings ({error})") from error
    named = named_weights(saved)
    weights = select_weights(saved, named, head, path)
    parameters = dict(model.named_parameters())
    expected = {key: parameter.shape for key, parameter in parameters.items() if not only_in_2x(key)}
    actual = {key: value.shape for key, value in weights.items()}
    if expected != actual:
        differing = sorted(key for key in expected.keys() | actual.keys() if expected.get(key) != actual.get(key))
        raise cannot_convert(path, f"its weights do not fit its settings ({len(differing)} differ: {differing[0]}, …)")
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(weights[key] if key in weights else torch.zeros_like(parameter))
        for key, constant in model.named_buffers():
            if key in named and constant.is_floating_point():  # integer buffers differ in order
                constant.copy_(named[key])
    return model


def read_architecture(saved: dict[str, Any], path: Path) -> tuple[dict[str, Any], str]:
    """The settings of the backbone in terms of 2.x, and the name of the head. Raises TeacherError."""
    model = saved["config"].get("model")
    model = model if isinstance(model, dict) else {}
    backbone, heads = model.get("backbone") or {}, model.get("heads") or {}
    if backbone.get("model") != "esen_backbone":
        name = backbone.get("model") or model.get("name") or saved["config"].get("model")
        raise cannot_convert(path, f"its model is {name}, not esen_backbone")
    modules = {name: head.get("module") for name, head in heads.items()}
    if list(modules.values()) != [HEAD]:
        raise cannot_convert(
            path, f"its heads are {modules}, and only the forces of {HEAD} are derivatives of the energy"
        )
    settings = {**DEFAULTS, **backbone}
    if settings["distance_function"] != "gaussian" or not settings.get("use_envelope"):
        raise cannot_convert(
            path,
            f"it has distance_function={settings['distance_function']} and use_envelope={settings.get('use_envelope')}"
            ", and fairchem-core 2.x supports only gaussian and true",
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


def select_weights(saved: dict[str, Any], named: dict[str, Tensor], head: str, path: Path) -> dict[str, Tensor]:
    """The parameters under their names in 2.x: their running average if the checkpoint has one, else the last values.

    The average is saved without names, in the order of the parameters.
    """
    state = {name: value for name, value in named.items() if not CONSTANT.search(name)}
    state = {re.sub(rf"^output_heads\.{re.escape(head)}\.", "output_heads.energy.", key): v for key, v in state.items()}
    shadow = (saved.get("ema") or {}).get("shadow_params")
    if shadow is None:
        return state
    if [value.shape for value in shadow] != [value.shape for value in state.values()]:
        raise cannot_convert(path, "its running average does not have the shapes of its weights")
    log.info("%s: the running average of its weights is used", path.name)
    return dict(zip(state, shadow, strict=True))


def only_in_2x(parameter: str) -> bool:
    """Whether a parameter exists in 2.x only. These are set to zero, so that they have no effect."""
    return parameter.removeprefix("backbone.").startswith(ADDED)


def cannot_convert(path: Path, reason: str) -> TeacherError:
    """The error for a checkpoint that cannot be converted."""
    return TeacherError(
        f"{path} cannot be converted: {reason}",
        "give a conservative eSEN model of fairchem-core 1.x, such as esen_30m_oam.pt",
    )

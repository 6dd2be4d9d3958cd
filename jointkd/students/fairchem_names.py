"""Names, shapes and settings of the models of fairchem-core 1.x, and the corresponding ones of students."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from jointkd.errors import DataError
from jointkd.students.gemnet import GemNet
from jointkd.students.painn import PaiNN
from jointkd.students.student_file import target_of

UNUSED = {"scale_file", "output_init", "otf_graph", "use_pbc", "num_elements", "num_targets", "emb_size_teacher"}
# Settings with a fixed value: the allowed values, of which the first is the default.
SHARED: dict[str, list[Any]] = {  # both models
    "regress_forces": [True],
    "rbf": [None, {"name": "gaussian"}],
    "envelope": [None, {"name": "polynomial", "exponent": 5}],
    "enforce_max_neighbors_strictly": [True],
}
ONLY_GEMNET: dict[str, list[Any]] = {
    "num_before_skip": [1],
    "num_after_skip": [1],
    "num_concat": [1],
    "num_atom": [2],
    "cbf": [None, {"name": "spherical_harmonics"}],
    "extensive": [True],
    "activation": ["swish", "silu"],  # two names of one function
}
PAINN_NAMES = [  # replacements in names of weights, fairchem-core 1.x → students, applied in this order
    ("atom_emb.embeddings", "embedding"),
    ("message_layers", "messages"),
    ("update_layers", "updates"),
    (".xvec_proj", ".context"),
    (".vec_proj", ".mix"),
    (".x_proj", ".context"),
    (".rbf_proj", ".filter"),
    (".x_layernorm", ".norm"),
    ("out_energy", "energy_head"),
    ("out_forces.output_network", "force_head"),
    ("vec1_proj", "to_norm"),
    ("vec2_proj", "to_vector"),
    ("update_net", "gate"),
]
GEMNET_NAMES = [
    (".linear.weight", ".weight"),
    ("atom_emb.embeddings", "embedding"),
    ("edge_emb.dense", "edge_embedding"),
    ("mlp_rbf3", "radial_triplet"),
    ("mlp_rbf_h", "radial_atom"),
    ("mlp_rbf_out", "radial_output"),
    ("mlp_cbf3", "circular"),
    ("int_blocks", "interactions"),
    ("out_blocks", "outputs"),
    ("trip_interaction", "triplets"),
    ("atom_update", "atoms"),
    ("mlp_cbf.weight", "bilinear"),
    ("mlp_rbf", "radial"),
    ("dense_rbf_F", "force_radial"),
    ("dense_rbf", "radial"),
    ("scale_sum", "scale"),
    ("scale_cbf_sum", "scale_sum"),
    ("scale_rbf_F", "force_scale"),
    ("scale_rbf", "scale_product"),
    ("scale_factor", "factor"),
    ("dense_ca", "skip"),
    ("dense_ba", "dense"),
    ("down_projection", "down"),
    ("up_projection_ca", "up"),
    ("up_projection_ac", "up_reverse"),
    ("layers_before_skip.0", "before_skip"),
    ("layers_after_skip.0", "after_skip"),
    ("residual_m.0", "residual"),
    ("concat_layer.dense", "concat"),
    ("dense_mlp", "layers"),
    ("seq_forces", "force_layers"),
    ("out_energy", "energy"),
    ("out_forces", "force"),
]


class ConversionSpec(NamedTuple):
    """How a model of fairchem-core is converted to a student."""

    student: type[nn.Module]
    names: list[tuple[str, str]]  # replacements in the names of weights
    arguments: dict[str, str]  # setting of fairchem-core → argument of the student
    defaults: dict[str, Any]  # default values of settings
    allowed: dict[str, list[Any]]  # allowed values of settings without an argument
    constants: dict[str, Any]  # arguments of the student with a fixed value


PAINN = ConversionSpec(
    student=PaiNN,
    names=PAINN_NAMES,
    arguments={
        "hidden_channels": "width",
        "num_layers": "layers",
        "num_rbf": "radial",
        "cutoff": "cutoff",
        "max_neighbors": "max_neighbors",
    },
    defaults={
        "hidden_channels": 512,
        "num_layers": 6,
        "num_rbf": 128,
        "cutoff": 12.0,
        "max_neighbors": 50,
        "direct_forces": True,
    },
    allowed=SHARED,
    constants={"smooth": False},
)
GEMNET = ConversionSpec(
    student=GemNet,
    names=GEMNET_NAMES,
    arguments={
        "emb_size_atom": "width",
        "num_blocks": "blocks",
        "num_radial": "radial",
        "num_spherical": "spherical",
        "cutoff": "cutoff",
        "max_neighbors": "max_neighbors",
    },
    defaults={"cutoff": 6.0, "max_neighbors": 50, "direct_forces": False},
    allowed=SHARED | ONLY_GEMNET,
    constants={},
)
HEADS = {  # the linear last layers, whose weights scale energies and forces
    "energy": r"energy_head\.2\.(weight|bias)|outputs\.\d+\.energy\.weight",
    "forces": r"force_head\.1\.to_vector\.weight|outputs\.\d+\.force\.weight",
}


def convert(state: dict[str, Tensor], name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights under the names of fairchem-core → weights under those of students, and the original name of each."""
    weights: dict[str, Tensor] = {}
    original_names: dict[str, str] = {}
    scales: dict[int, Tensor] = {}
    for theirs, value in state.items():
        if theirs.endswith("rbf.offset"):
            continue  # determined by the number of Gaussians
        if theirs.endswith("scale_factor"):
            value = torch.where(value == 0, torch.ones_like(value), value)  # zero means "not fitted"
        if layer := re.fullmatch(r"upd_out_scalar_scale_(\d+)\.scale_factor", theirs):
            scales[int(layer[1])] = value
            continue
        ours = theirs
        for old, new in PAINN.names if name == "painn" else GEMNET.names:
            ours = ours.replace(old, new)
        ours = re.sub(r"^(outputs\.\d+)\.(radial|scale|layers)\.", r"\1.atoms.\2.", ours)
        if ours == "circular.weight" and value.ndim == 3:  # [degree, Gaussian, out]
            value = value.permute(2, 0, 1).flatten(0, 1)
        elif ours.endswith(".bilinear") and value.ndim == 3:  # [in, filter, out]
            value = value.permute(2, 1, 0).flatten(1)
        weights[ours], original_names[ours] = value, theirs
    if scales:
        weights["scales"] = torch.stack([scales[layer] for layer in sorted(scales)])
    return weights, original_names


def student_config(name: str, settings: dict[str, Any], weights: dict[str, Tensor], path: Path) -> dict[str, Any]:
    """`_target_` and arguments of the student that is equivalent to a model. Raises DataError for unknown settings."""
    spec = PAINN if name == "painn" else GEMNET
    allowed = spec.allowed
    if name == "gemnet_t":
        width = settings.get("emb_size_atom", 0)
        sizes = {"edge": width, "bil_trip": width, "trip": width // 2, "rbf": width // 4, "cbf": width // 4}
        allowed = allowed | {f"emb_size_{part}": [size] for part, size in sizes.items()}
    for setting, value in settings.items():
        if setting not in {*allowed, *spec.arguments, *UNUSED, "direct_forces"}:
            raise unsupported(path, setting, value, "leave it out of the config if it does not change the model")
        if setting in allowed and value not in allowed[setting]:
            raise unsupported(path, setting, value, f"students support only {setting}={allowed[setting][-1]}")
    config: dict[str, Any] = {"_target_": target_of(spec.student)}
    for setting, argument in spec.arguments.items():
        config[argument] = settings.get(setting, spec.defaults.get(setting))
        if config[argument] is None:
            raise DataError(
                f"checkpoint={path}: its config has no model setting {setting}", "add it to config['model']"
            )
    config["conservative"] = not settings.get("direct_forces", spec.defaults["direct_forces"])
    if "embedding.weight" in weights:
        config["elements"] = weights["embedding.weight"].shape[0]
    return config | spec.constants


def unsupported(path: Path, setting: str, value: Any, remedy: str) -> DataError:
    """The error for a setting that no student has."""
    return DataError(f"checkpoint={path}: the model setting {setting}={value} is not supported", remedy)


def model_notes(name: str, settings: dict[str, Any], config: dict[str, Any]) -> list[str]:
    """Notes for users on properties of the model."""
    cap = config["max_neighbors"]
    notes = [
        f"max_neighbors={cap} is kept, as in training: energies jump where the order of the neighbours changes "
        "(student.max_neighbors=null is smooth, but another function)"
    ]
    if settings.get("use_pbc") is False:
        notes.append("use_pbc=False: the model ignored periodic boundaries; the student uses those of the data")
    if name == "painn":
        notes.append("smooth=False is kept, as in fairchem: energies have small jumps at the cutoff")
    if name == "painn" and config["conservative"]:
        notes.append("forces are -∂E/∂R; fairchem's PaiNN with direct_forces=False differentiates another sum")
    return notes

"""Very small models of fairchem-core with random weights, in the file formats of versions 1.x and 2.x."""

import copy
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

BACKBONE_1X = {  # the settings of eSEN-30M-OAM, except for the sizes
    "model": "esen_backbone",
    "max_num_elements": 100,
    "sphere_channels": 8,
    "lmax": 3,
    "mmax": 2,
    "grid_resolution": None,
    "otf_graph": True,
    "max_neighbors": 300,
    "use_pbc": True,
    "use_pbc_single": False,
    "cutoff": 5.0,
    "edge_channels": 8,
    "distance_function": "gaussian",
    "num_distance_basis": 16,
    "direct_forces": False,
    "regress_forces": True,
    "regress_stress": True,
    "num_layers": 2,
    "hidden_channels": 8,
    "norm_type": "rms_norm_sh",
    "act_type": "gate",
    "mlp_type": "spectral",
    "use_envelope": True,
    "activation_checkpointing": False,
}
SHARED = (
    "max_num_elements", "sphere_channels", "lmax", "mmax", "cutoff", "edge_channels", "num_distance_basis",
    "num_layers", "hidden_channels", "norm_type", "act_type", "max_neighbors",
)  # fmt: skip
MODELS = "fairchem.core.models"
HEAD_2X = f"{MODELS}.uma.escn_md.MLP_EFS_Head"
GRADIENT_HEAD = "AllScAIPGradientEnergyForceStressHead"
CONSTANTS = (
    "offset",
    "balance_degree_weight",
    "expand_index",
)  # saved by 1.x and not by 2.x; 1.x orders them by degree
MEAN, RMSD = 0.7, 1.423
REFERENCES = [0.0, *(-0.1 * number for number in range(1, 100))]  # eV by atomic number


def backbone_2x(**changes: Any) -> dict[str, Any]:
    """The same architecture in the settings of fairchem-core 2.x."""
    return {
        "model": f"{MODELS}.uma.escn_md.eSCNMDBackbone",
        **{name: BACKBONE_1X[name] for name in SHARED},
        "ff_type": BACKBONE_1X["mlp_type"],
        "direct_forces": False,
        "regress_forces": True,
        "otf_graph": True,
        "always_use_pbc": False,
        "use_dataset_embedding": False,
        **changes,
    }


def weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Random values of a parameter, seeded by its name, so that fairchem-core 1.10 can have the same model."""
    values = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    matrix = len(shape) > 1 and "affine" not in name
    value = values / np.sqrt(shape[-1]) if matrix else 0.1 * values + name.endswith(("affine_weight", "net.1.weight"))
    return torch.tensor(value, dtype=torch.float32)


def randomized(model: torch.nn.Module) -> torch.nn.Module:
    """The model with all parameters replaced by random values that are seeded by their names."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weight(name, tuple(parameter.shape)))
    return model


def write_1x(path: Path, **changes: Any) -> Path:
    """A checkpoint in the format of fairchem-core 1.10, with the weights of a model of 2.x under the names of 1.x.

    changes: entries of the checkpoint to replace; `backbone` and `heads` replace settings of its model.
    """
    from fairchem.core.models.base import HydraModel

    with torch.random.fork_rng(devices=[]):
        model = randomized(HydraModel(backbone=backbone_2x(), heads={"oam": {"module": HEAD_2X}}))
    state = {
        name: value
        for name, value in model.state_dict().items()
        if not any(part in name for part in ("charge_embedding", "spin_embedding", "mix_csd"))
    }
    for name, value in model.named_buffers():
        if name.endswith(CONSTANTS):
            state[name] = value.sort().values if name.endswith("expand_index") else value
    scale = {"mean": torch.tensor(0.0), "rmsd": torch.tensor(RMSD)}
    settings = {
        "name": "hydra",
        "pass_through_head_outputs": True,
        "otf_graph": True,
        "backbone": {**BACKBONE_1X, **changes.pop("backbone", {})},
        "heads": changes.pop("heads", {"oam": {"module": "esen_mlp_efs_head"}}),
    }
    checkpoint = {
        "state_dict": state,
        "normalizers": {"energy": {**scale, "mean": torch.tensor(MEAN)}, "forces": scale, "stress": scale},
        "elementrefs": {"energy": {"element_references": torch.tensor(REFERENCES)}},
        "config": {"trainer": "mlip_trainer", "model": settings, "optim": {"ema_decay": 0.999}, "cmd": {"seed": 0}},
        "val_metrics": {"energy_mae": {"metric": np.float64(0.1), "numel": 10}},
        "amp": None,
    }
    torch.save({**checkpoint, **changes}, path)
    return path


def write_2x(path: Path, architecture: str = "uma", **changes: Any) -> Path:
    """An inference checkpoint in the format of fairchem-core 2.x, of a small model of one of `ARCHITECTURES`.

    changes: settings of its backbone to replace.
    """
    import hydra
    from fairchem.core.units.mlip_unit.api.inference import MLIPInferenceCheckpoint

    tasks, backbone, head, more = ARCHITECTURES[architecture]()
    config = {
        "_target_": "fairchem.core.models.base.HydraModel",
        "backbone": {**backbone, **changes},
        "heads": {"energyandforcehead": {"head_kwargs": {"wrap_property": False}, **head}},
        "pass_through_head_outputs": True,
        **more,
    }
    with torch.random.fork_rng(devices=[]):
        model = randomized(hydra.utils.instantiate(copy.deepcopy(config)))
    averaged = torch.optim.swa_utils.AveragedModel(model)
    entries = [task_2x(task, output) for task in tasks for output in ("energy", "forces")]
    torch.save(MLIPInferenceCheckpoint(config, model.state_dict(), averaged.state_dict(), entries), path)
    return path


Settings = tuple[
    tuple[str, ...], dict[str, Any], dict[str, Any], dict[str, Any]
]  # tasks; settings of backbone, head and model


def uma_1p1() -> Settings:
    """Like uma-s-1p1 and uma-m-1p1: experts, and embeddings of charge, spin and task."""
    names = {task: task for task in ("omol", "omat")}
    backbone = backbone_2x(
        model=f"{MODELS}.uma.escn_moe.eSCNMDMoeBackbone",
        num_experts=4,
        moe_layer_type="pytorch",
        use_composition_embedding=True,
        model_version=1.1,
        use_dataset_embedding=True,
        dataset_mapping=names,
    )
    head = {
        "module": f"{MODELS}.uma.escn_moe.DatasetSpecificMoEWrapper",
        "head_cls": HEAD_2X,
        "dataset_mapping": names,
    }
    return tuple(names), backbone, head, {}


def uma_1p2() -> Settings:
    """Like uma-s-1p2, uma-s-1p2p1 and its successors: channels that sum to the charge and the spin, stress."""
    tasks, backbone, head, _ = uma_1p1()
    del backbone["model_version"]
    backbone |= {"charge_balanced_channels": [0, 1], "spin_balanced_channels": [2], "regress_stress": True}
    return tasks, backbone, head, {"model_id": "UMA-S-1.2.1", "supports_single_atoms": True}


def esen_2x() -> Settings:
    """Like the conservative eSEN models of OMol25 and OC25: one task, no experts."""
    head = {
        "module": f"{MODELS}.uma.escn_moe.DatasetSpecificSingleHeadWrapper",
        "head_cls": HEAD_2X,
        "dataset_names": ["omol"],
    }
    return ("omol",), backbone_2x(), head, {}


def allscaip() -> Settings:
    """Like allscaip-md-conserving-all-omol: attention among nearest neighbours and among all atoms."""
    _, _, head, _ = esen_2x()
    backbone = {
        "model": f"{MODELS}.allscaip.AllScAIP.AllScAIPBackbone",
        "num_layers": 2,
        "hidden_size": 16,
        "direct_forces": False,
        "regress_forces": True,
        "dataset_list": ["omol"],
        "max_num_elements": 110,
        "max_batch_size": 96,
        "max_atoms": 350,
        "max_radius": 6.0,
        "knn_k": 30,
        "knn_pad_size": 50,
        "use_freq_mask": False,
        "use_sincx_mask": False,
        "edge_distance_expansion_size": 32,
        "atten_name": "memory_efficient",
        "atten_num_heads": 2,
    }
    return ("omol",), backbone, {**head, "head_cls": f"{MODELS}.allscaip.AllScAIP.{GRADIENT_HEAD}"}, {}


ARCHITECTURES: dict[str, Callable[[], Settings]] = {
    "uma": uma_1p1,
    "uma_1p2": uma_1p2,
    "esen_2x": esen_2x,
    "allscaip": allscaip,
}


def task_2x(task: str, output: str) -> dict[str, Any]:
    """The description of an output, energy or forces, in a checkpoint of 2.x."""
    normalisation = "fairchem.core.modules.normalization"
    references = {
        "_target_": f"{normalisation}.element_references.ElementReferences",
        "element_references": {"_target_": "torch.DoubleTensor", "_args_": [REFERENCES]},
    }
    return {
        "_target_": "fairchem.core.units.mlip_unit.mlip_unit.Task",
        "name": f"{task}_{output}",
        "level": "system" if output == "energy" else "atom",
        "property": output,
        "out_spec": {
            "_target_": "fairchem.core.units.mlip_unit.mlip_unit.OutputSpec",
            "dim": [1] if output == "energy" else [3],
            "dtype": "float32",
        },
        "normalizer": {"_target_": f"{normalisation}.normalizer.Normalizer", "mean": 0.0, "rmsd": RMSD},
        "datasets": [task],
        "element_references": references if output == "energy" else None,
    }


if __name__ == "__main__":  # for tests in environments without fairchem-core
    write_1x(Path(sys.argv[1]))

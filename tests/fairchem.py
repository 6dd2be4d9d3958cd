"""Checkpoints as fairchem-core 1.x saves them, made of students of ours, and its own outputs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from jointkd.structures.batch import Prediction, Structure, collate
from jointkd.structures.neighbors import neighbors
from jointkd.students.derivatives import predict
from jointkd.students.fairchem_names import convert
from jointkd.students.gemnet import GemNet
from jointkd.students.import_fairchem import import_checkpoint
from jointkd.students.painn import PaiNN
from jointkd.students.student_file import load_student

OUTPUTS = {  # of fairchem-core 1.10, by the width of its models
    "small": Path(__file__).parent / "fixtures" / "fairchem_outputs",
    "full": Path(__file__).parents[2] / "shared" / "parity",  # too large to be part of this repository
}
CASES = ["ethanol", "ala4w", "nacl8_rc6", "srtio3_rc6_full"]  # that the references get right themselves
SMALL = {"width": 16, "radial": 5, "cutoff": 4.0, "elements": 20, "max_neighbors": 30}


def reference(name: str, width: str = "small") -> dict[str, Any]:
    """Weights, settings and float64 outputs of fairchem-core 1.10. Skips where those of full width are not here."""
    file = OUTPUTS[width] / f"{name}.pt"
    if not file.exists():
        pytest.skip(f"the outputs of fairchem-core are not here ({file})")
    return torch.load(file, weights_only=True)


def imported(given: dict[str, Any], case: dict[str, Any], folder: Path) -> nn.Module:
    """The reference's student with the settings of a case, through a checkpoint and its import."""
    name = "painn" if given["model"] == "painn" else "gemnet_t"
    settings = {"name": name, **given["config"], **case["overrides"]}
    state = {f"module.{key}": value.double() for key, value in given["state_dict"].items()}
    return loaded({"state_dict": state, "config": {"model": settings}}, folder)


def loaded(checkpoint: dict[str, Any], folder: Path, **options: Any) -> nn.Module:
    """The student of a checkpoint: saved, imported, read."""
    torch.save(checkpoint, folder / "checkpoint.pt")
    output = folder / "student.safetensors"
    output.unlink(missing_ok=True)
    import_checkpoint(str(folder / "checkpoint.pt"), str(output), **options)
    return load_student(output)[0].requires_grad_(False)


def batch_of_case(case: dict[str, Any], cutoff: float) -> Structure:
    periodic = case["cell"] is not None
    positions = case["positions"].double().numpy()
    cell = case["cell"].double().numpy() if periodic else np.zeros((3, 3))
    found = neighbors(positions, cell, np.array([periodic] * 3), cutoff)
    return collate([Structure.from_arrays(case["numbers"].long().numpy(), positions, found)], torch.float64)


def predicted(student: Any, case: dict[str, Any], every: bool = False) -> Prediction:
    """What a student says of a case, with the case's rows of the Hessian, or all of them."""
    batch = batch_of_case(case, student.cutoff)
    rows = [3 * int(atom) + int(axis) for atom, axis in case["row_index"]]
    if every:
        rows = list(range(3 * len(batch.positions)))
    return predict(student, batch, torch.tensor([rows]))


def agree_with_reference(student: Any, case: dict[str, Any]) -> None:
    """Check atomic energies, forces and rows of the Hessian against the reference's."""
    prediction = predicted(student, case)
    assert prediction.forces is not None
    assert prediction.hessian_rows is not None
    assert relative(prediction.atomic_energies, case["atom_energies"]) < 1e-9
    assert relative(prediction.forces, case["forces"]) < 1e-9
    assert relative(prediction.hessian_rows.transpose(0, 1), case["rows"]) < 1e-9


def full(prediction: Prediction) -> Tensor:
    """All rows as one matrix [3N, 3N]."""
    assert prediction.hessian_rows is not None
    rows = prediction.hessian_rows.transpose(0, 1)
    return rows.reshape(rows.shape[0], -1)


def central_differences(student: Any, case: dict[str, Any], step: float = 1e-5) -> Tensor:
    """-∂F/∂R [3N, 3N] by central differences of the student's forces."""
    batch = batch_of_case(case, student.cutoff)

    def forces(by: Tensor) -> Tensor:
        result: Any = predict(student, replace(batch, positions=batch.positions + by)).forces
        return result.reshape(-1)

    shifts = step * torch.eye(batch.positions.numel(), dtype=torch.float64).view(-1, *batch.positions.shape)
    return torch.stack([(forces(-by) - forces(by)) / (2 * step) for by in shifts], dim=1)


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


def small_student(name: str, conservative: bool, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A student that differs in every size from the default, with random scales and biases."""
    torch.manual_seed(5)
    torch.set_default_dtype(dtype)
    try:
        if name == "painn":
            student: Any = PaiNN(layers=2, conservative=conservative, smooth=False, **SMALL)
        else:
            student = GemNet(blocks=2, spherical=4, conservative=conservative, **SMALL)
    finally:
        torch.set_default_dtype(torch.float32)
    for key, weight in student.state_dict().items():
        if weight.ndim < 2:
            scaled = key == "scales" or key.endswith("factor")
            weight.copy_(torch.rand_like(weight) + 0.5 if scaled else 0.3 * torch.randn_like(weight))
    return student.requires_grad_(False)


def checkpoint_of(student: Any, **more: Any) -> dict[str, Any]:
    """A checkpoint of the model that a student is, as fairchem-core 1.x saves it; more: other entries."""
    name = "painn" if isinstance(student, PaiNN) else "gemnet_t"
    settings: dict[str, Any] = {"cutoff": student.cutoff, "max_neighbors": student.max_neighbors}
    settings |= {"regress_forces": True, "direct_forces": not student.conservative, "otf_graph": True}
    if name == "painn":
        settings |= {"hidden_channels": 16, "num_layers": 2, "num_rbf": 5}
    else:
        settings |= {"num_spherical": 4, "num_radial": 5, "num_blocks": 2, "emb_size_trip": 8}
        settings |= {f"emb_size_{part}": 16 for part in ("atom", "edge", "bil_trip")}
        settings |= {"emb_size_rbf": 4, "emb_size_cbf": 4, "num_atom": 2, "activation": "silu", "extensive": True}
        settings |= {"num_before_skip": 1, "num_after_skip": 1, "num_concat": 1, "cbf": {"name": "spherical_harmonics"}}
    settings |= {"rbf": {"name": "gaussian"}, "envelope": {"name": "polynomial", "exponent": 5}, "num_elements": 20}
    state = {f"module.module.{key}": value for key, value in named_by_fairchem(student, name).items()}
    config = {"model": {"name": name, **settings}, "optim": {"ema_decay": 0.999}}
    saved = {"epoch": 3.5, "step": 700, "state_dict": state, "config": config, "normalizers": {}, "elementrefs": {}}
    return saved | {"ema": None, "amp": None, "val_metrics": {"forces_mae": {"metric": 0.1}}, **more}


def named_by_fairchem(student: nn.Module, name: str) -> dict[str, Tensor]:
    """A student's weights under fairchem's names, in its order and shapes."""
    own = student.state_dict()
    state = {}
    for theirs in names_of_painn() if name == "painn" else names_of_gemnet():
        if theirs.startswith("upd_out"):
            state[theirs] = own["scales"][int(theirs.split(".")[0][-1])].clone()
            continue
        alias = theirs.replace("seq_energy", "layers")
        (ours,) = convert({alias: torch.ones(())}, name)[1] or [None]
        if ours is None:
            state[theirs] = torch.linspace(0, 1, 5)
        elif theirs == "mlp_cbf3.weight":
            state[theirs] = own[ours].view(4, 4, 5).permute(1, 2, 0).contiguous()  # [out, degree, Gaussian]
        elif theirs.endswith("mlp_cbf.weight"):
            state[theirs] = own[ours].view(16, 4, 8).permute(2, 1, 0).contiguous()  # [out, filter, in]
        elif ours in own:
            state[theirs] = state[alias] if alias in state else own[ours].clone()
    return state


def names_of_painn() -> list[str]:
    """The state of fairchem's PaiNN with two layers, in its order."""
    names = ["atom_emb.embeddings.weight", "radial_basis.rbf.offset"]
    message = ["x_proj.0", "x_proj.2", "rbf_proj", "x_layernorm"]
    names += [f"message_layers.{k}.{part}.{kind}" for k in range(2) for part in message for kind in ("weight", "bias")]
    update = ["vec_proj.weight", *(f"xvec_proj.{n}.{kind}" for n in (0, 2) for kind in ("weight", "bias"))]
    names += [f"update_layers.{k}.{part}" for k in range(2) for part in update]
    names += [f"upd_out_scalar_scale_{k}.scale_factor" for k in range(2)]
    names += [f"out_energy.{n}.{kind}" for n in (0, 2) for kind in ("weight", "bias")]
    gated = ["vec1_proj.weight", "vec2_proj.weight"]
    gated += [f"update_net.{n}.{kind}" for n in (0, 2) for kind in ("weight", "bias")]
    return names + [f"out_forces.output_network.{k}.{part}" for k in range(2) for part in gated]


def names_of_gemnet() -> list[str]:
    """The state of fairchem's GemNet-dT with two blocks, in its order; GemNet-T has no *_rbf_F and *_forces."""
    dense = [f"{n}.linear.weight" for n in ("mlp_rbf3", "mlp_rbf_h", "mlp_rbf_out")]
    names = ["radial_basis.rbf.offset", "cbf_basis3.radial_basis.rbf.offset", dense[0], "mlp_cbf3.weight", *dense[1:]]
    names += ["atom_emb.embeddings.weight", "edge_emb.dense.linear.weight"]

    def residual(place: str) -> list[str]:
        return [f"{place}.dense_mlp.{n}.linear.weight" for n in range(2)]

    def layers(place: str) -> list[str]:
        return [f"{place}.0.linear.weight", *residual(f"{place}.1"), *residual(f"{place}.2")]

    out = ["dense_rbf.linear.weight", "scale_sum.scale_factor", *layers("layers"), *layers("seq_energy")]
    out += ["out_energy.linear.weight", "scale_rbf_F.scale_factor", *layers("seq_forces"), "out_forces.linear.weight"]
    out += ["dense_rbf_F.linear.weight"]
    triplet = ["dense_ba.linear.weight", "mlp_rbf.linear.weight", "scale_rbf.scale_factor", "mlp_cbf.weight"]
    triplet += ["scale_cbf_sum.scale_factor", "down_projection.linear.weight"]
    triplet += ["up_projection_ca.linear.weight", "up_projection_ac.linear.weight"]
    block = ["dense_ca.linear.weight", *(f"trip_interaction.{part}" for part in triplet)]
    block += [*residual("layers_before_skip.0"), *residual("layers_after_skip.0")]
    block += [
        "atom_update.dense_rbf.linear.weight",
        "atom_update.scale_sum.scale_factor",
        *layers("atom_update.layers"),
    ]
    block += ["concat_layer.dense.linear.weight", *residual("residual_m.0")]
    names += [f"out_blocks.{k}.{part}" for k in range(3) for part in out]
    return names + [f"int_blocks.{k}.{part}" for k in range(2) for part in block]

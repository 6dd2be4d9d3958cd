"""Trains the teacher of the embedded example, a small MACE model, on the larger set of `jointkd.demo.sample`.

`python -m jointkd.demo.train_teacher --data DIR/teacher_training.xyz.gz --out DIR/teacher` resumes from its last
checkpoint after an interruption. No structure of the example's data set is used. It needs the extra `mace`.
"""

import argparse
import gzip
import io
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.io import read
from torch import Tensor

from jointkd.teachers import mace_model

ENERGY_WEIGHT = (1.0, 40.0)  # (eV/atom)⁻², at the start and at the end; that of force components is 1 (eV/Å)⁻²
VALIDATION = 20  # every 20th trajectory is for validation


def load_frames(path: Path) -> tuple[list[Any], dict[int, float]]:
    """Structures of molecules, and the energies of the free atoms in eV by atomic number."""
    text = gzip.decompress(path.read_bytes()).decode()  # ASE seeks in the file, which is slow in a compressed one
    frames = read(io.StringIO(text), index=":", format="extxyz")
    free = {}
    for atom in frames:
        if atom.info["config_type"] == "IsolatedAtom":
            free[int(atom.numbers[0])] = float(atom.get_potential_energy())
    molecules = [frame for frame in frames if frame.info["config_type"] != "IsolatedAtom"]
    return molecules, dict(sorted(free.items()))


def card(frames: list[Any], free: dict[int, float], arguments: argparse.Namespace) -> dict[str, Any]:
    """The contents of `model.json`: architecture, normalisation by the training structures, licence and citation."""
    cohesive = [
        (frame.get_potential_energy() - sum(free[int(z)] for z in frame.numbers)) / len(frame) for frame in frames
    ]
    rms_force = math.sqrt(np.mean(np.concatenate([frame.get_forces().ravel() for frame in frames]) ** 2))
    return {
        "name": "gfn2-mace",
        "licence": "MIT",
        "level_of_theory": "GFN2-xTB (tblite)",
        "citation": "Bannwarth, Ehlert, Grimme, JCTC 15, 1652 (2019); Batatia et al., NeurIPS 2022",
        "free_atom_energies": {str(number): energy for number, energy in free.items()},
        "architecture": {
            "r_max": 4.5,
            "num_bessel": 8,
            "num_polynomial_cutoff": 5,
            "max_ell": 2,
            "num_interactions": 2,
            "hidden_irreps": f"{arguments.channels}x0e",
            "mlp_irreps": "16x0e",
            "correlation": 3,
            "radial_mlp": [32, 32],
            "avg_num_neighbors": 15.0,
            "scale": rms_force,
            "shift": float(np.mean(cohesive)),
        },
        "training": {"frames": len(frames), "steps": arguments.steps, "batch": arguments.batch, "seed": arguments.seed},
    }


def graphs(frames: list[Any], numbers: list[int], cutoff: float) -> list[Any]:
    """The structures in the format of mace-torch, with energies and forces."""
    from mace.data import AtomicData, KeySpecification, config_from_atoms
    from mace.tools import AtomicNumberTable

    keys = KeySpecification(info_keys={"energy": "E"}, arrays_keys={"forces": "F"})
    table = AtomicNumberTable(numbers)
    result = []
    for frame in frames:
        frame.info["E"], frame.arrays["F"] = frame.get_potential_energy(), frame.get_forces()
        result.append(AtomicData.from_config(config_from_atoms(frame, key_specification=keys), table, cutoff=cutoff))
    return result


def batch_of(graphs: list[Any]) -> dict[str, Tensor]:
    """A batch in the format of mace-torch."""
    from mace.tools.torch_geometric.batch import Batch

    return Batch.from_data_list(graphs).to_dict()


def errors(model: torch.nn.Module, batch: dict[str, Tensor], training: bool) -> tuple[Tensor, Tensor]:
    """Energy errors per atom [B] eV and force errors [N, 3] eV/Å."""
    output = model(batch, training=training, compute_force=True)
    atoms = batch["ptr"].diff()
    return (output["energy"] - batch["energy"]) / atoms, output["forces"] - batch["forces"]


def evaluate(model: torch.nn.Module, graphs: list[Any]) -> tuple[float, float]:
    """Mean absolute errors of the energy in meV/atom and of force components in meV/Å."""
    energy, force = [], []
    for start in range(0, len(graphs), 16):
        per_atom, per_component = errors(model, batch_of(graphs[start : start + 16]), training=False)
        energy.append(per_atom.detach().abs())
        force.append(per_component.detach().abs().ravel())
    return 1e3 * float(torch.cat(energy).mean()), 1e3 * float(torch.cat(force).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("outputs/demo_source/teacher_training.xyz.gz"))
    parser.add_argument("--out", type=Path, default=Path("outputs/demo_source/teacher"))
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)

    frames, free = load_frames(arguments.data)
    groups = sorted({frame.info["group"] for frame in frames})
    held_out = set(groups[::VALIDATION])
    training = [frame for frame in frames if frame.info["group"] not in held_out]
    description = card(training, free, arguments)
    model = mace_model.build(description)
    cutoff = description["architecture"]["r_max"]
    train_graphs = graphs(training, list(free), cutoff)
    validation = graphs([frame for frame in frames if frame.info["group"] in held_out], list(free), cutoff)
    print(f"{len(train_graphs)} frames, {sum(p.numel() for p in model.parameters())} parameters", flush=True)

    optimizer = torch.optim.Adam(model.parameters(), lr=arguments.learning_rate, amsgrad=True)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.999))
    checkpoint = arguments.out / "checkpoint.pt"
    step = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]

    started, first = time.time(), step
    while step < arguments.steps:
        progress = step / arguments.steps
        for group in optimizer.param_groups:
            group["lr"] = arguments.learning_rate * min(1.0, step / 200) * 0.5 * (1 + math.cos(math.pi * progress))
        low, high = ENERGY_WEIGHT
        chosen = np.random.default_rng([arguments.seed, step]).choice(len(train_graphs), arguments.batch, replace=False)
        energy, force = errors(model, batch_of([train_graphs[i] for i in chosen]), training=True)
        loss = low * (high / low) ** progress * energy.square().mean() + force.square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        average.update_parameters(model)
        step += 1
        if step % 500 == 0 or step == arguments.steps:
            energy_mae, force_mae = evaluate(average.module, validation)
            rate = (step - first) / (time.time() - started)
            print(
                f"step {step}: validation {energy_mae:.2f} meV/atom, {force_mae:.1f} meV/Å; {rate:.1f} steps/s",
                flush=True,
            )
            description["validation"] = {"energy_mae_meV_per_atom": energy_mae, "force_mae_meV_per_A": force_mae}
            mace_model.save(average.module, description, arguments.out)
            state = {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
            }
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").rename(checkpoint)
    print(json.dumps(description["validation"]))


if __name__ == "__main__":
    main()

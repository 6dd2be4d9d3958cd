"""MACE models stored as plain weights and hyperparameters instead of a pickle.

A model is a directory of two files: `model.json` (architecture, elements, free-atom energies, licence, level of theory
and citation) and `weights.safetensors`. Source: Batatia et al., NeurIPS 2022; mace-torch builds the module.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from jointkd.files.foreign_loads import foreign_loads

BLOCK = "RealAgnosticResidualInteractionBlock"


def build(card: dict[str, Any]) -> torch.nn.Module:
    """A ScaleShiftMACE with random weights, in the default dtype, from the contents of `model.json`."""
    with foreign_loads():
        import mace  # noqa: F401  (before e3nn, which otherwise cannot load its constants)
        from e3nn.o3 import Irreps
        from mace.modules import ScaleShiftMACE, interaction_classes

    shape = card["architecture"]
    energies = card["free_atom_energies"]
    with without_torchscript():
        return ScaleShiftMACE(
            r_max=shape["r_max"],
            num_bessel=shape["num_bessel"],
            num_polynomial_cutoff=shape["num_polynomial_cutoff"],
            max_ell=shape["max_ell"],
            interaction_cls=interaction_classes[BLOCK],
            interaction_cls_first=interaction_classes[BLOCK],
            num_interactions=shape["num_interactions"],
            num_elements=len(energies),
            hidden_irreps=Irreps(shape["hidden_irreps"]),
            MLP_irreps=Irreps(shape["mlp_irreps"]),
            atomic_energies=torch.tensor(list(energies.values()), dtype=torch.float64).numpy(),
            avg_num_neighbors=shape["avg_num_neighbors"],
            atomic_numbers=[int(number) for number in energies],
            correlation=shape["correlation"],
            gate=torch.nn.functional.silu,
            radial_MLP=shape["radial_mlp"],
            atomic_inter_scale=shape["scale"],
            atomic_inter_shift=shape["shift"],
        )


@contextmanager
def without_torchscript() -> Iterator[None]:
    """Let e3nn build operations as they are: compiling them takes as long as all else, and they are not faster then."""
    import e3nn

    before = e3nn.get_optimization_defaults()["jit_script_fx"]
    e3nn.set_optimization_defaults(jit_script_fx=False)
    try:
        yield
    finally:
        e3nn.set_optimization_defaults(jit_script_fx=before)


def save(model: torch.nn.Module, card: dict[str, Any], directory: Path) -> None:
    """Write `model.json` and `weights.safetensors` (the parameters, in float32) to a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().float().contiguous() for name, value in model.named_parameters()}
    save_file(weights, directory / "weights.safetensors")
    (directory / "model.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def load(directory: Path) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The model of a directory, in the default dtype, and the contents of its `model.json`."""
    card = json.loads((directory / "model.json").read_text(encoding="utf-8"))
    weights = load_file(directory / "weights.safetensors")
    with torch.random.fork_rng(devices=[]):  # labelling must not change the random numbers of a run
        model = build(card)
    parameters = dict(model.named_parameters())
    if {name: p.shape for name, p in parameters.items()} != {name: w.shape for name, w in weights.items()}:
        raise ValueError("weights.safetensors does not hold the weights that model.json describes")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    return model, card

"""PaiNN against the reference implementation's own numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from jointkd.neighbors import neighbors
from jointkd.objective.derivatives import predict
from jointkd.structure import Structure, collate
from jointkd.students.painn import PaiNN

FIXTURE = Path(__file__).parents[3] / "shared" / "parity" / "painn.pt"
RENAMED = [  # of fairchem-core 1.x → ours
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


def test_the_papers_size_is_reproduced():
    assert sum(parameter.numel() for parameter in PaiNN().parameters()) == 1_029_635


@pytest.fixture(scope="module")
def reference() -> dict:
    if not FIXTURE.exists():
        pytest.skip("reference outputs of the students are not beside this checkout")
    return torch.load(FIXTURE, weights_only=True)


@pytest.mark.parametrize("case", ["ethanol", "ala4w", "nacl8_rc6", "srtio3_rc6_full"])
def test_reference_weights_give_the_reference_outputs(reference, case):
    weights = {"scales": torch.tensor(list(reference["scale_factors"].values()), dtype=torch.float64)}
    for name, value in reference["state_dict"].items():
        if not name.startswith("radial_basis") and not name.endswith("scale_factor"):
            for theirs, ours in RENAMED:
                name = name.replace(theirs, ours)
            weights[name] = value.double()
    expected = reference["cases"][case]
    cutoff = expected["overrides"].get("cutoff", 12.0)
    torch.set_default_dtype(torch.float64)
    try:
        student = PaiNN(cutoff=cutoff, smooth=False)
    finally:
        torch.set_default_dtype(torch.float32)
    student.load_state_dict(weights)
    periodic = expected["cell"] is not None
    cell = expected["cell"].numpy() if periodic else np.zeros((3, 3))
    positions = torch.as_tensor(expected["positions"]).double()
    atomic_numbers = torch.as_tensor(expected["numbers"]).long()
    structure = Structure(
        atomic_numbers=atomic_numbers,
        positions=positions,
        **neighbors(positions.numpy(), cell, np.array([periodic] * 3), cutoff)._asdict(),
        num_nodes=len(positions),
    )
    ids = torch.tensor([[3 * int(atom) + int(axis) for atom, axis in expected["row_index"]]])
    with torch.no_grad():
        prediction = predict(student, collate([structure], torch.float64), ids)
    for ours, theirs in [
        (prediction.atomic_energies, expected["atom_energies"]),
        (prediction.forces, expected["forces"]),
        (prediction.hessian_rows.transpose(0, 1), expected["rows"]),
    ]:
        assert float((ours - theirs).abs().max() / theirs.abs().max()) < 1e-9

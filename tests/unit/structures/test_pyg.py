"""Conversion of structures to and from torch_geometric `Data`."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch_geometric.data import Data

from jointkd.errors import DataError
from jointkd.structures.batch import TENSORS, Structure, collate
from tests.structures import CUTOFF, ETHANOL, MOLECULES, SALT, SPECIAL, WATER, equal, labelled, structure

ALONE = [replace(labelled(atoms, 3), teacher_energy_spread=torch.rand(len(atoms))) for atoms in (SALT, WATER)]
TOGETHER = collate([labelled(atoms, 2) for atoms in (*MOLECULES, SALT)], torch.float32)


def data_of(atoms, **more) -> Data:
    return Data(pos=torch.from_numpy(atoms.positions), z=torch.from_numpy(atoms.numbers), **more)


@pytest.mark.parametrize("original", [*ALONE, TOGETHER, structure(SPECIAL["atom"])])
def test_conversion_to_torch_geometric_and_back_changes_nothing(original):
    data = original.to_pyg()
    assert isinstance(data, Data)
    data.validate()
    assert data.num_edges == original.edge_index.shape[1]
    assert ("batch" in data) == (original.num_structures > 1)
    assert equal(Structure.from_pyg(data), original)


@pytest.mark.parametrize("atoms", [ETHANOL, SALT, SPECIAL["wire"], SPECIAL["triclinic"]])
@pytest.mark.parametrize("shape", [(3, 3), (1, 3, 3)])
def test_neighbours_are_searched_for_a_data_without_edges_of_ours(atoms, shape):
    cell, pbc = torch.from_numpy(atoms.cell.array).view(shape), torch.from_numpy(atoms.pbc).view(shape[:-1])
    foreign = torch.zeros(2, 4, dtype=torch.long)  # edges without shifts, which are ignored
    made = Structure.from_pyg(data_of(atoms, cell=cell, pbc=pbc, edge_index=foreign), CUTOFF)
    assert equal(made, structure(atoms))


def test_the_number_of_neighbours_can_be_capped():
    assert Structure.from_pyg(data_of(ETHANOL), CUTOFF, 3).edge_index.shape[1] < structure(ETHANOL).edge_index.shape[1]


def test_labels_are_read_under_their_usual_names():
    energy, forces = torch.tensor([[-3.5]], dtype=torch.float64), torch.randn(3, 3, dtype=torch.float64)
    for names in ({"y": energy, "force": forces}, {"energy": energy[0], "forces": forces, "y": torch.zeros(1, 19)}):
        made = Structure.from_pyg(data_of(WATER, **names), CUTOFF)
        assert equal(made, structure(WATER, energy=energy[0], forces=forces))


def test_the_dtype_is_that_of_the_positions_and_elements_may_be_called_atomic_numbers():
    numbers = torch.tensor([8, 1, 1], dtype=torch.int32)
    data = Data(pos=torch.from_numpy(WATER.positions).float(), atomic_numbers=numbers)
    made = Structure.from_pyg(data, CUTOFF)
    assert {getattr(made, name).dtype for name in TENSORS if getattr(made, name) is not None} == {
        torch.float32,
        torch.int64,
    }
    assert made.atomic_numbers.tolist() == [8, 1, 1]


@pytest.mark.parametrize(
    ("changes", "cutoff", "message"),
    [
        ({"pos": None}, 4.0, r"must have pos; set pos to the positions in Å"),
        ({"z": None}, 4.0, r"must have z or atomic_numbers; set z to the atomic numbers"),
        ({"z": torch.ones(2)}, 4.0, r"z of the Data must have shape \[3\], not \[2\]"),
        ({"force": torch.zeros(2, 3)}, 4.0, r"forces of the Data must have shape \[3, 3\], not \[2, 3\]"),
        ({"y": torch.zeros(1, 19)}, 4.0, r"energy \(or y\) of the Data must have shape \[1\], not \[19\]"),
        ({}, None, r"where no cutoff is given; give the student's cutoff"),
        ({"edge_index": torch.zeros(2, 0, dtype=torch.long)}, None, r"must have edge_index, edge_shift, edge_reverse"),
        ({"batch": torch.tensor([0, 1, 1])}, 4.0, r"must be a single structure; convert each of batch.to_data_list"),
        ({"cell": torch.eye(3)}, 4.0, r"must say where it is periodic; set pbc to \[True, True, True\]"),
        ({"pbc": torch.tensor([False, True, False])}, 4.0, r"a periodic Data must have a cell"),
    ],
)
def test_a_mistake_in_a_data_is_refused_with_a_remedy(changes, cutoff, message):
    data = data_of(WATER)
    for name, value in changes.items():
        data[name] = value
    with pytest.raises(DataError, match=message):
        Structure.from_pyg(data, cutoff)


def test_a_single_periodicity_flag_holds_for_all_directions():
    made = Structure.from_pyg(data_of(SALT, cell=torch.from_numpy(SALT.cell.array), pbc=torch.tensor(True)), CUTOFF)
    assert equal(made, structure(SALT))


def test_structures_do_not_need_torch_geometric():
    program = """
import sys
sys.modules["torch_geometric"] = None
import numpy as np
from jointkd.structures.batch import Structure, collate
from jointkd.structures.neighbors import neighbors
from jointkd.errors import MissingExtra
found = neighbors(np.eye(3), np.zeros((3, 3)), np.zeros(3, dtype=bool), 4.0)
batch = collate([Structure.from_arrays(np.array([8, 1, 1]), np.eye(3), found)])
try:
    batch.to_pyg()
except MissingExtra as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "MissingExtra: torch_geometric is not installed; pip install 'jointkd[pyg]'\n"

"""What every student in conf/student must satisfy, in each of its forms, in float64."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.spatial.transform import Rotation

from jointkd.objective.derivatives import predict
from jointkd.structure import collate, total_energy
from tests.structures import CUTOFF, ETHANOL, MOLECULES, SALT, WATER, batch_of, structure

CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "student").glob("[!_]*.yaml"))
SMALL = {"width": 16, "layers": 2, "radial": 8, "cutoff": CUTOFF}
FORMS = [(config, conservative) for config in CONFIGS for conservative in (False, True)]


@pytest.fixture(params=FORMS, ids=lambda form: f"{form[0].stem}-{'conservative' if form[1] else 'direct'}")
def student(request: pytest.FixtureRequest) -> Iterator[torch.nn.Module]:
    path, conservative = request.param
    torch.manual_seed(3)
    config = OmegaConf.load(path)
    built = instantiate({**config, **SMALL, "conservative": conservative}).double()
    for parameter in built.parameters():  # zero biases would hide mistakes
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return built.requires_grad_(False)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("atoms", [ETHANOL, SALT], ids=["molecule", "crystal"])
def test_energies_are_invariant_and_forces_and_rows_turn_with_the_structure(student, atoms):
    rotation = Rotation.from_euler("zyx", [0.3, 1.1, -0.7]).as_matrix()
    for matrix in (rotation, -rotation):  # the second one reflects as well
        turned = Atoms(atoms.numbers, atoms.positions @ matrix.T, cell=atoms.cell.array @ matrix.T, pbc=atoms.pbc)
        every = torch.arange(3 * len(atoms))[None]
        before, after = (predict(student, batch_of(each), every) for each in (atoms, turned))
        q = torch.from_numpy(matrix)
        assert relative(after.atomic_energies, before.atomic_energies) < 1e-10
        assert relative(after.forces, before.forces @ q.T) < 1e-10
        count = len(atoms)  # [N, (M, 3), 3]: row (M, axis) in its place, column (N, axis)
        blocks = before.hessian_rows.view(count, count, 3, 3)
        expected = torch.einsum("xa,nmab,yb->nmxy", q, blocks, q).reshape(count, 3 * count, 3)
        assert relative(after.hessian_rows, expected) < 1e-10


def test_a_shifted_structure_has_the_same_energies_and_forces(student):
    moved = ETHANOL.copy()
    moved.positions += [3.0, -20.0, 7.0]
    before, after = predict(student, batch_of(ETHANOL)), predict(student, batch_of(moved))
    assert relative(after.atomic_energies, before.atomic_energies) < 1e-10
    assert relative(after.forces, before.forces) < 1e-10


def test_reordered_atoms_have_reordered_energies_and_forces(student):
    order = np.random.default_rng(0).permutation(len(ETHANOL))
    before, after = predict(student, batch_of(ETHANOL)), predict(student, batch_of(ETHANOL[order]))
    assert relative(after.atomic_energies, before.atomic_energies[order]) < 1e-10
    assert relative(after.forces, before.forces[order]) < 1e-10


def test_forces_of_a_conservative_student_are_central_differences_of_its_energy(student):
    if not student.conservative:
        pytest.skip("a force head is not a gradient")
    forces = predict(student, batch_of(ETHANOL)).forces
    step = 1e-4

    def energy(coordinate: int, by: float) -> torch.Tensor:
        batch = batch_of(ETHANOL)
        batch.positions.view(-1)[coordinate] += by
        return predict(student, batch).atomic_energies.sum()

    expected = torch.stack([(energy(i, -step) - energy(i, step)) / (2 * step) for i in range(forces.numel())])
    assert relative(forces.reshape(-1), expected) < 1e-7


def test_rows_are_those_of_the_full_jacobian_and_of_central_differences(student):
    batch = batch_of(SALT)
    count = len(SALT)

    def force_map(positions: torch.Tensor) -> torch.Tensor:
        moved = batch.clone()
        moved.positions = positions
        return predict(student, moved).forces

    rows = predict(student, batch, torch.arange(3 * count)[None]).hessian_rows
    matrix = rows.transpose(0, 1).reshape(3 * count, 3 * count)
    if student.conservative:

        def energy(positions: torch.Tensor) -> torch.Tensor:
            return student(positions, batch).atomic_energies.sum()

        full = torch.func.hessian(energy)(batch.positions).reshape(3 * count, 3 * count)
    else:
        full = -torch.func.jacrev(force_map)(batch.positions).reshape(3 * count, 3 * count)
    assert relative(matrix, full) < 1e-10
    step = 1e-4
    shifts = step * torch.eye(3 * count, dtype=torch.float64).view(-1, count, 3)
    columns = [
        (force_map(batch.positions - by) - force_map(batch.positions + by)).reshape(-1) / (2 * step) for by in shifts
    ]
    assert relative(matrix, torch.stack(columns, dim=1)) < 1e-6


def test_a_batch_equals_its_structures_one_by_one(student):
    every = [*MOLECULES, SALT]
    ids = torch.tensor([[0, 4], [8, 2], [5, 5], [1, 3]])
    together = predict(student, batch_of(*every), ids)
    start = 0
    for atoms, row_ids in zip(every, ids, strict=True):
        alone = predict(student, batch_of(atoms), row_ids[None])
        end = start + len(atoms)
        assert relative(together.atomic_energies[start:end], alone.atomic_energies) < 1e-12
        assert relative(together.forces[start:end], alone.forces) < 1e-12
        assert relative(together.hessian_rows[start:end], alone.hessian_rows) < 1e-12
        start = end


def test_atomic_energies_sum_to_the_total(student):
    batch = batch_of(*MOLECULES)
    atomic = predict(student, batch).atomic_energies
    totals = total_energy(atomic, batch)
    for number, (first, last) in enumerate(zip(batch.ptr[:-1], batch.ptr[1:], strict=True)):
        assert abs(float(totals[number] - atomic[first:last].sum())) < 1e-12


def test_two_distant_copies_have_twice_the_energy(student):
    far = WATER.copy()
    far.positions += [50.0, 0.0, 0.0]
    single = predict(student, batch_of(WATER)).atomic_energies.sum()
    double = predict(student, batch_of(WATER + far)).atomic_energies.sum()
    assert abs(float(double - 2 * single)) < 1e-10


@pytest.mark.parametrize("atoms", [Atoms("H"), Atoms("HH", [[0, 0, 0], [0, 0, 30.0]])], ids=["atom", "no edges"])
def test_a_structure_without_edges_has_no_forces(student, atoms):
    prediction = predict(student, batch_of(atoms), torch.zeros(1, 1, dtype=torch.long))
    assert torch.isfinite(prediction.atomic_energies).all()
    assert not prediction.forces.any()
    assert not prediction.hessian_rows.any()


@pytest.mark.parametrize("name", ["CO2", "HCN", "C2H2", "O2"])
def test_the_hessian_loss_of_a_symmetric_molecule_has_finite_gradients(student, name):
    student.requires_grad_(True)
    atoms = molecule(name)
    prediction = predict(student, batch_of(atoms), torch.arange(3 * len(atoms))[None])
    (prediction.hessian_rows.square().sum() + prediction.forces.square().sum()).backward()
    gradients = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_energy_and_forces_do_not_jump_where_an_atom_crosses_the_cutoff(student):
    def at(distance: float):
        return predict(student, batch_of(Atoms("OCH", [[0, 0, 0], [1.2, 0, 0], [distance, 0.1, 0]])))

    edge, step = float(np.sqrt(CUTOFF**2 - 0.01)), 1e-6
    assert structure(Atoms("OH", [[0, 0, 0], [edge - step, 0.1, 0]])).edge_index.shape[1] == 2
    assert structure(Atoms("OH", [[0, 0, 0], [edge + step, 0.1, 0]])).edge_index.shape[1] == 0
    inside, middle, outside = at(edge - step), at(edge), at(edge + step)
    for field in ("atomic_energies", "forces"):  # the second difference has no slope in it
        bend = getattr(inside, field) - 2 * getattr(middle, field) + getattr(outside, field)
        assert float(bend.abs().max()) < 1e-8


def test_float32_predictions_are_close_to_float64(student):
    structures = [structure(atoms) for atoms in MOLECULES]
    exact = predict(student, collate(structures, torch.float64))
    rounded = predict(student.float(), collate(structures, torch.float32))
    assert rounded.forces.dtype == torch.float32
    assert relative(rounded.atomic_energies.double(), exact.atomic_energies) < 1e-5
    assert relative(rounded.forces.double(), exact.forces) < 1e-4

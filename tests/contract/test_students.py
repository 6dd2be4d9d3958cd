"""What every student must satisfy: each class in conf/student, in both of its forms, small, in float64.

A student of your own goes through the same tests: JOINTKD_STUDENT=my_student.yaml pytest tests/contract. It is one
file with a class and one YAML file that names it; of SMALL, the options that the YAML file has are set here.
"""

import copy
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.spatial.transform import Rotation
from torch import Tensor

from jointkd.structures.batch import Prediction, collate, total_energy
from jointkd.students import kernels, operations
from jointkd.students.derivatives import predict
from tests.structures import CUTOFF, ETHANOL, MOLECULES, SALT, SPECIAL, WATER, rattled, structure

OWN = os.environ.get("JOINTKD_STUDENT")
CONFIGS = [Path(OWN)] if OWN else sorted((Path(__file__).parents[2] / "conf" / "student").glob("[!_]*.yaml"))
SMALL = {
    "width": 16,
    "layers": 2,
    "blocks": 2,
    "radial": 6,
    "spherical": 4,
    "cutoff": CUTOFF,
    "elements": 83,
    "max_neighbors": None,  # a cap makes energies jump
}
PEROXIDE = rattled(molecule("H2O2"), 5)
TRICLINIC = rattled(SPECIAL["triclinic"], 6)
FORMS = {None: "", False: "-direct", True: "-conservative"}


def every_form() -> dict[str, dict[str, Any]]:
    """Configurations by name: each class in the form that its file chooses and, if no file does, in the other one."""
    configs = {path.stem: OmegaConf.to_container(OmegaConf.load(path)) for path in CONFIGS}
    found, seen = {}, set()
    for chosen in (True, False):
        for name, config in configs.items():
            conservative = config.get("conservative")
            if conservative is not None and not chosen:
                conservative = not conservative
            if (config["_target_"], conservative) not in seen:
                seen.add((config["_target_"], conservative))
                overrides = {**SMALL, "conservative": conservative}
                small = {key: value for key, value in overrides.items() if key in config}
                found[name + FORMS[conservative]] = {**config, **small}
    return found


STUDENTS = every_form()


def built(config: dict[str, Any]) -> torch.nn.Module:
    torch.manual_seed(3)
    student = instantiate(config).double()
    for parameter in student.parameters():  # zero biases would hide mistakes
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return student.requires_grad_(False)


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Structures here go through the kernels, as large ones do; small ones are left to torch."""
    for name in vars(operations):
        if name.startswith("SMALL_"):
            monkeypatch.setattr(operations, name, 0)


@pytest.fixture(params=STUDENTS.values(), ids=STUDENTS.keys())
def student(request: pytest.FixtureRequest) -> torch.nn.Module:
    return built(request.param)


def batch_for(student: torch.nn.Module, *many: Atoms) -> Any:
    """A batch with the student's neighbours, in its own dtype."""
    dtype = next(student.parameters()).dtype
    return collate([structure(atoms, student.cutoff) for atoms in many], dtype)


def ask(student: torch.nn.Module, atoms: Atoms, *rows: int) -> Prediction:
    """What the student says of one structure."""
    return predict(student, batch_for(student, atoms), torch.tensor([rows]) if rows else None)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).abs().max() / expected.abs().max())


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Relative to the largest entry, or to 0.1 eV and Å where all are small or vanish by symmetry."""
    found, expected = found.detach(), expected.detach()
    return float((found - expected).abs().max()) <= tolerance * max(float(expected.abs().max()), 0.1)


def force_map(student: torch.nn.Module, batch: Any) -> Any:
    """positions [N, 3] → forces [N, 3]; the neighbours are those of the batch."""

    def forces(positions: Tensor) -> Tensor:
        moved = batch.clone()
        moved.positions = positions
        return predict(student, moved).forces

    return forces


def direction_in(batch: Any) -> Tensor:
    """A random displacement [N, 3]."""
    return torch.randn(batch.positions.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


PRECISIONS = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["float64", "float32"]
)
GENERIC = pytest.mark.parametrize("atoms", [PEROXIDE, SALT], ids=["molecule", "crystal"])


@PRECISIONS
@GENERIC
def test_energies_are_invariant_and_forces_and_rows_turn_with_the_structure(student, atoms, dtype, tolerance):
    student.to(dtype)
    rotation = Rotation.from_euler("zyx", [0.3, 1.1, -0.7]).as_matrix()
    before = ask(student, atoms, 3, 4, 5)  # all rows of one atom
    for matrix in (rotation, -rotation):  # the second one reflects as well
        turned = Atoms(atoms.numbers, atoms.positions @ matrix.T, cell=atoms.cell.array @ matrix.T, pbc=atoms.pbc)
        after = ask(student, turned, 3, 4, 5)
        q = torch.from_numpy(matrix)
        assert relative(after.atomic_energies, before.atomic_energies) < tolerance
        assert close(after.forces, before.forces.double() @ q.T, tolerance)
        expected = torch.einsum("xa,nab,yb->nxy", q, before.hessian_rows.double(), q)
        assert relative(after.hessian_rows, expected) < tolerance


@PRECISIONS
@GENERIC
def test_a_shifted_structure_has_the_same_energies_and_forces(student, atoms, dtype, tolerance):
    student.to(dtype)
    moved = atoms.copy()
    moved.positions += [0.5, -2.0, 0.75]
    before, after = ask(student, atoms), ask(student, moved)
    assert relative(after.atomic_energies, before.atomic_energies) < tolerance
    assert close(after.forces, before.forces, tolerance)


@PRECISIONS
@GENERIC
def test_reordered_atoms_have_reordered_energies_and_forces(student, atoms, dtype, tolerance):
    student.to(dtype)
    order = [1, 0, *range(2, len(atoms))][::-1]
    before, after = ask(student, atoms), ask(student, atoms[order])
    assert relative(after.atomic_energies, before.atomic_energies[order]) < tolerance
    assert close(after.forces, before.forces[order], tolerance)


def test_a_crystal_is_the_same_in_a_larger_cell_and_with_its_atoms_in_other_cells(student):
    before, repeated = ask(student, TRICLINIC), ask(student, TRICLINIC.repeat((2, 1, 1)))
    assert relative(repeated.atomic_energies, before.atomic_energies.repeat(2)) < 1e-10
    assert relative(repeated.forces, before.forces.repeat(2, 1)) < 1e-10
    moved = TRICLINIC.copy()
    moved.positions[1] += moved.cell.array[0] - 2 * moved.cell.array[2]
    after = ask(student, moved)
    assert relative(after.atomic_energies, before.atomic_energies) < 1e-10
    assert relative(after.forces, before.forces) < 1e-10


@GENERIC
def test_forces_of_a_conservative_student_are_central_differences_of_its_energy(student, atoms):
    if not student.conservative:
        pytest.skip("a force head is not a gradient")
    step, count = 1e-4, 3 * len(atoms)
    moved = []
    for shift in step * np.concatenate([np.eye(count), -np.eye(count)]).reshape(-1, *atoms.positions.shape):
        moved.append(atoms.copy())
        moved[-1].positions += shift
    batch = batch_for(student, *moved)
    plus, minus = total_energy(student(batch.positions, batch).atomic_energies, batch).split(count)
    assert relative(ask(student, atoms).forces.reshape(-1), (minus - plus) / (2 * step)) < 1e-7


def test_a_batch_equals_its_structures_one_by_one(student):
    every = [ETHANOL, SALT, Atoms("H"), WATER, TRICLINIC, SPECIAL["wire"], SPECIAL["two atoms without edges"]]
    ids = torch.tensor([[0, 4], [5, 2], [1, 2], [8, 1], [3, 7], [4, 4], [2, 3]])
    together = predict(student, batch_for(student, *every), ids)
    start = 0
    for atoms, row_ids in zip(every, ids.tolist(), strict=True):
        alone, end = ask(student, atoms, *row_ids), start + len(atoms)
        for name in ("atomic_energies", "forces", "hessian_rows"):
            assert close(getattr(together, name)[start:end], getattr(alone, name), 1e-12)
        start = end


def test_forces_of_some_atoms_are_theirs_and_their_rows_are_the_same(student):
    batch = batch_for(student, ETHANOL, SALT, Atoms("H"), SPECIAL["wire"])
    prediction = student(batch.positions, batch)
    if prediction.forces_of is None:
        pytest.skip("no way to fewer forces than all")
    atoms = torch.tensor([7, 0, 7, len(ETHANOL) + 1, len(ETHANOL) + len(SALT)])  # the last one is alone
    assert close(prediction.forces_of(atoms), prediction.forces[atoms], 1e-12)
    assert prediction.forces_of(atoms[:0]).shape == (0, 3)
    _, pullback = torch.func.vjp(lambda positions: student(positions, batch).forces, batch.positions)
    ids = torch.tensor([[22, 4], [5, 2], [1, 2], [4, 4]])
    for found, column in zip(predict(student, batch, ids).hessian_rows.unbind(1), ids.T, strict=True):
        cotangent = torch.zeros_like(batch.positions).flatten().index_fill(0, 3 * batch.ptr[:-1] + column, -1)
        assert close(found, pullback(cotangent.view(-1, 3))[0], 1e-12)


def test_predictions_have_the_dtype_and_shape_of_what_was_asked(student):
    for dtype in (torch.float32, torch.float64):
        prediction = ask(student.to(dtype), WATER, 0, 5)
        values = prediction.atomic_energies, prediction.forces, prediction.hessian_rows
        assert [tuple(value.shape) for value in values] == [(3,), (3, 3), (3, 2, 3)]
        assert {value.dtype for value in values} == {dtype}


def test_float32_predictions_are_close_to_float64(student):
    exact = [ask(student, atoms) for atoms in MOLECULES]
    student.float()
    for atoms, expected in zip(MOLECULES, exact, strict=True):
        rounded = ask(student, atoms)
        assert relative(rounded.atomic_energies, expected.atomic_energies) < 1e-5
        assert relative(rounded.forces, expected.forces) < 1e-4


def test_atomic_energies_sum_to_the_total_and_two_distant_copies_have_twice_the_energy(student):
    far = WATER.copy()
    far.positions += [50.0, 0.0, 0.0]
    batch = batch_for(student, WATER, WATER + far)
    atomic = student(batch.positions, batch).atomic_energies
    single, double = total_energy(atomic, batch)
    assert abs(float(single - atomic[:3].sum())) < 1e-12
    assert abs(float(double - atomic[3:].sum())) < 1e-12
    assert abs(float(double - 2 * single)) < 1e-10


def test_an_isolated_atom_has_its_reference_energy(student):
    """A student's energies are relative to those references, so it must say zero."""
    for atoms in (Atoms("H"), Atoms("Cl"), SPECIAL["atom in a large cell"], SPECIAL["two atoms without edges"]):
        prediction = ask(student, atoms, 0, 2)
        assert prediction.atomic_energies.abs().max() < 1e-12
        assert not prediction.forces.any()
        assert not prediction.hessian_rows.any()


@pytest.mark.parametrize("name", [*SPECIAL, "a mixed batch"])
def test_a_student_may_be_differentiated_twice_everywhere(student, name):
    differentiate_twice(student, name)


def test_so_may_its_plain_form(student):
    with kernels.disabled():
        differentiate_twice(student, "a mixed batch")


def differentiate_twice(student: torch.nn.Module, name: str) -> None:
    """Rows against differences of forces, and gradients of a loss of all predictions against its differences."""
    many = [SPECIAL[name]] if name in SPECIAL else [ETHANOL, SPECIAL["SrTiO3"], Atoms("H"), SPECIAL["slab"]]
    batch = batch_for(student, *many)
    ids = torch.stack([torch.tensor([0, 2]) + 3 * (int(count) // 2) for count in batch.ptr.diff()])
    student.requires_grad_(True)
    prediction = predict(student, batch, ids)
    assert all(torch.isfinite(field).all() for field in prediction[:3])

    shift, step = direction_in(batch), 1e-5
    forces = force_map(student, batch)
    change = ((forces(batch.positions - step * shift) - forces(batch.positions + step * shift)) / (2 * step)).detach()
    for number, (of_structure, first) in enumerate(zip(ids, batch.ptr[:-1], strict=True)):
        mine = batch.batch == number
        found = torch.einsum("nsa,na->s", prediction.hessian_rows[mine], shift[mine])
        assert close(found, change.reshape(-1)[3 * first + of_structure], 1e-6)

    slopes = torch.autograd.grad(loss(prediction), student.parameters(), allow_unused=True)
    assert all(slope is None or torch.isfinite(slope).all() for slope in slopes)
    generator = torch.Generator().manual_seed(1)
    moves = [torch.randn(each.shape, generator=generator, dtype=torch.float64) for each in student.parameters()]
    found = sum((slope * move).sum() for slope, move in zip(slopes, moves, strict=True) if slope is not None)
    plus, minus = (loss(predict(moved(student, moves, by), batch, ids)) for by in (1e-5, -1e-5))
    assert close(torch.as_tensor(found), (plus - minus) / 2e-5, 1e-5)


def loss(prediction: Prediction) -> Tensor:
    return sum(field.square().sum() for field in prediction[:3])


def moved(student: torch.nn.Module, moves: list[Tensor], by: float) -> torch.nn.Module:
    """A copy whose parameters are moved by so much."""
    other = copy.deepcopy(student).requires_grad_(False)
    for parameter, move in zip(other.parameters(), moves, strict=True):
        parameter += by * move
    return other


CROSSING = {  # the atom that crosses the cutoff, at [x, 0.1, 0]: x of it that puts it there, and the rest
    "molecule": (lambda edge: edge, lambda x: Atoms("OCH", [[0, 0, 0], [1.2, 0, 0], [x, 0.1, 0]])),
    "crystal": (  # it is the periodic image that crosses
        lambda edge: 6.1 - edge,
        lambda x: Atoms("OCH", [[0, 0, 0], [1.2, 0, 0.3], [x, 0.1, 0]], cell=[6.1, 9, 9], pbc=True),
    ),
}


@pytest.mark.parametrize("name", CROSSING)
def test_nothing_jumps_where_an_atom_crosses_the_cutoff(student, name):
    place, atoms = CROSSING[name]
    middle, step = place(float(np.sqrt(student.cutoff**2 - 0.01))), 1e-6
    if student.cutoff == CUTOFF:
        edges = {structure(atoms(middle + by), CUTOFF).edge_index.shape[1] for by in (step, -step)}
        assert max(edges) - min(edges) == 2
    before, at, after = (ask(student, atoms(middle + by), 6, 7, 0) for by in (-step, 0, step))
    for field in ("atomic_energies", "forces"):  # the second difference has no slope in it
        bend = getattr(before, field) - 2 * getattr(at, field) + getattr(after, field)
        assert float(bend.abs().max()) < 1e-8
    assert float((after.hessian_rows - before.hessian_rows).abs().max()) < 1e-4


def test_directional_derivatives_are_those_of_finite_differences(student):
    batch = batch_for(student, PEROXIDE, SALT)
    positions, shift, step = batch.positions, direction_in(batch), 1e-4
    forces = force_map(student, batch)

    def energy(positions: Tensor) -> Tensor:
        return student(positions, batch).atomic_energies.sum()

    slope = torch.func.jvp(energy, (positions,), (shift,))[1]
    assert close(slope, (energy(positions + step * shift) - energy(positions - step * shift)) / (2 * step), 1e-6)
    assert close(slope, (torch.func.grad(energy)(positions) * shift).sum(), 1e-10)
    if student.conservative:
        assert close(slope, -(forces(positions) * shift).sum(), 1e-10)
    change = torch.func.jvp(forces, (positions,), (shift,))[1]
    assert close(change, (forces(positions + step * shift) - forces(positions - step * shift)) / (2 * step), 1e-6)


def test_pullbacks_and_positions_may_be_vectorised(student):
    batch = batch_for(student, WATER, SALT)
    forces = force_map(student, batch)
    cotangents = torch.stack([direction_in(batch), torch.ones_like(batch.positions)])
    pullback = torch.func.vjp(forces, batch.positions)[1]
    vectorised = torch.func.vmap(pullback)(cotangents)[0]
    assert close(vectorised, torch.stack([pullback(each)[0] for each in cotangents]), 1e-12)
    places = batch.positions + 0.01 * cotangents
    assert close(torch.func.vmap(forces)(places), torch.stack([forces(each) for each in places]), 1e-12)


def test_parameters_may_be_passed_as_an_argument(student):
    batch = batch_for(student, WATER)
    others = {name: parameter + 0.05 for name, parameter in student.named_parameters()}

    def energy(parameters: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(student, parameters, (batch.positions, batch)).atomic_energies.square().sum()

    found, slopes = energy(others), torch.func.grad(energy)(others)
    student.load_state_dict({**student.state_dict(), **others})
    student.requires_grad_(True)
    expected = student(batch.positions, batch).atomic_energies.square().sum()
    assert float(found) == pytest.approx(float(expected.detach()), rel=1e-12)
    expected.backward()
    for name, parameter in student.named_parameters():
        assert close(slopes[name], torch.zeros(()) if parameter.grad is None else parameter.grad, 1e-10)


def test_predictions_and_gradients_are_the_same_without_kernels(student):
    batch, ids = batch_for(student, WATER, SALT), torch.tensor([[0, 4], [5, 2]])
    student.requires_grad_(True)
    results = []
    for context in (nullcontext(), kernels.disabled()):
        with context:
            prediction = predict(student, batch, ids)
            slopes = torch.autograd.grad(loss(prediction), list(student.parameters()), materialize_grads=True)
        results.append([*prediction[:3], *slopes])
    assert all(close(fast, plain, 1e-10) for fast, plain in zip(*results, strict=True))


PAIRS = '''
import torch
from jointkd.structures.batch import Prediction
from jointkd.students.basis import PolynomialEnvelope


class Pairs(torch.nn.Module):
    """Every pair of atoms attracts by the product of their charges and repels."""

    conservative = True

    def __init__(self, cutoff: float = 5.0, elements: int = 83, tilt: float = 0.0, max_neighbors: int | None = None):
        super().__init__()
        self.cutoff, self.elements, self.tilt, self.max_neighbors = cutoff, elements, tilt, max_neighbors
        self.charge = torch.nn.Parameter(torch.randn(elements))
        self.envelope = PolynomialEnvelope()

    def forward(self, positions, structure):
        source, target = structure.edge_index
        vectors = positions[source] + structure.edge_shift - positions[target]
        distances = vectors.square().sum(1).sqrt() + self.tilt * vectors[:, 0]
        charge = self.charge[structure.atomic_numbers - 1]
        pairs = ((-2 * distances).exp() - charge[source] * charge[target] * (-distances).exp()) / 2
        pairs = pairs * self.envelope(distances / self.cutoff)
        return Prediction(torch.zeros_like(positions[:, 0]).index_add(0, target, pairs))
'''


@pytest.mark.skipif(OWN is not None, reason="tests a student of one's own")
@pytest.mark.parametrize("tilt", [0.0, 0.1], ids=["right", "wrong"])
def test_a_students_own_file_and_yaml_are_enough_to_go_through_the_contract(tmp_path, tilt):
    (tmp_path / "pairs.py").write_text(PAIRS)
    (tmp_path / "pairs.yaml").write_text(f"_target_: pairs.Pairs\ncutoff: 5.0\ntilt: {tilt}\n")
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(tmp_path), str(root), os.environ.get("PYTHONPATH", "")])
    only = ["-k", "turn_with_the_structure"] if tilt else []
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rN", "--tb=line", __file__, *only]
    environment = {**os.environ, "JOINTKD_STUDENT": str(tmp_path / "pairs.yaml"), "PYTHONPATH": path}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    summary = done.stdout.splitlines()[-1]
    assert re.search("4 failed" if tilt else r"^\d+ passed", summary), done.stdout + done.stderr
    assert "error" not in summary

"""Derivatives of students against finite differences: forces, Hessian rows, and gradients of a loss of both."""

import copy
from typing import Any

import torch
from ase import Atoms
from torch import Tensor

from jointkd.contracts.properties import DoesNotApply
from jointkd.contracts.structures import ETHANOL, PEROXIDE, SALT, SPECIAL, WATER, WITHOUT_EDGES
from jointkd.contracts.students.built import BuiltStudent, Module, Parts, displacement, forces_at, separate
from jointkd.students.derivatives import predict

SYMMETRIC = [atoms for name, atoms in SPECIAL.items() if name not in WITHOUT_EDGES]


class Derivatives(BuiltStudent):
    """Training with Hessian rows needs derivatives up to the third order, everywhere."""

    def test_forces_of_a_conservative_student_are_central_differences_of_its_energy(self) -> None:
        """Forces are the negative gradient of the energy."""
        student, step = self.student(), 1e-4
        if not student.conservative:
            raise DoesNotApply("a force head is not a gradient")
        for atoms in (PEROXIDE, SALT):
            moves = torch.eye(3 * len(atoms), dtype=torch.float64).view(-1, len(atoms), 3)
            moved = [atoms.copy() for _ in range(2 * len(moves))]
            for each, move in zip(moved, torch.cat([moves, -moves]).numpy(), strict=True):
                each.positions += step * move
            batch = self.batch(student, moved)
            ahead, behind = batch.total_energy(student(batch.positions, batch).atomic_energies).chunk(2)
            (prediction,) = self.predictions(student, [atoms])
            expected = (behind - ahead).view(-1, 3) / (2 * step)
            self.same(prediction.forces, expected, 1e-7, f"forces of {atoms.symbols}")

    def test_hessian_rows_and_gradients_of_their_loss_are_differences_in_structures_of_high_symmetry(self) -> None:
        """Hessian rows, and gradients of a loss of them, agree with differences: molecules in line, crystals, slabs."""
        self.twice_differentiable([*SYMMETRIC, ETHANOL, Atoms("H")])

    def test_hessian_rows_and_gradients_of_their_loss_exist_without_any_edges(self) -> None:
        """Hessian rows, and gradients of a loss of them, are finite in a batch of isolated atoms."""
        self.twice_differentiable(list(WITHOUT_EDGES.values()))

    def twice_differentiable(self, many: list[Atoms]) -> None:
        """Require rows of the Hessian, and gradients of a loss of them, that agree with differences."""
        student = self.student().requires_grad_(True)
        batch = self.batch(student, many)
        ids = torch.stack([torch.tensor([0, 2]) + 3 * (int(count) // 2) for count in batch.atoms_per_structure])
        prediction = predict(student, batch, ids)
        parts = separate(prediction, batch)
        shift, step = displacement(batch), 1e-5
        ahead, behind = (forces_at(student, batch, batch.positions + by * shift) for by in (step, -step))
        change = ((behind - ahead) / (2 * step)).flatten()
        first = 3 * batch.ptr[:-1, None] + ids
        moves = shift.split(batch.atoms_per_structure.tolist())
        for atoms, part, move, expected in zip(many, parts, moves, change[first], strict=True):
            along = torch.einsum("nsa,na->s", part.hessian_rows, move)
            self.same(along, expected, 1e-6, f"Hessian rows of {atoms.symbols} along a displacement", floor=0.1)

        scales = [1 / max(float(squares(part).detach()), 0.01) for part in parts]  # every structure counts alike
        slopes = torch.autograd.grad(loss(parts, scales), list(student.parameters()), allow_unused=True)
        finite = all(slope is None or bool(torch.isfinite(slope).all()) for slope in slopes)
        assert finite, "gradients of a loss with Hessian rows are not finite"
        generator = torch.Generator().manual_seed(1)
        changes = [torch.randn(each.shape, generator=generator, dtype=each.dtype) for each in student.parameters()]
        found = sum((slope * change).sum() for slope, change in zip(slopes, changes, strict=True) if slope is not None)
        ahead, behind = (
            loss(separate(predict(changed(student, changes, by), batch, ids), batch), scales) for by in (step, -step)
        )
        expected = (ahead - behind) / (2 * step)
        self.same(torch.as_tensor(found), expected, 1e-6, "gradient of a loss with Hessian rows", floor=0.1)

    def test_directional_derivatives_are_those_of_finite_differences(self) -> None:
        """Forward-mode derivatives of energies and forces agree with reverse-mode ones and with differences."""
        student, step = self.student(), 1e-4
        batch = self.batch(student, [PEROXIDE, SALT])
        positions, shift = batch.positions, displacement(batch)

        def energy(positions: Tensor) -> Tensor:
            return student(positions, batch).atomic_energies.sum()

        def forces(positions: Tensor) -> Tensor:
            return forces_at(student, batch, positions)

        slope = torch.func.jvp(energy, (positions,), (shift,))[1]
        expected = (energy(positions + step * shift) - energy(positions - step * shift)) / (2 * step)
        self.same(slope, expected, 1e-6, "forward-mode derivative of the energy, from differences", floor=0.1)
        gradient = torch.func.grad(energy)(positions)
        self.same(slope, (gradient * shift).sum(), 1e-10, "forward-mode derivative of the energy", floor=0.1)
        if student.conservative:
            self.same(-forces(positions), gradient, 1e-10, "forces, from the gradient", floor=0.1)
        change = torch.func.jvp(forces, (positions,), (shift,))[1]
        expected = (forces(positions + step * shift) - forces(positions - step * shift)) / (2 * step)
        self.same(change, expected, 1e-6, "forward-mode derivative of the forces, from differences", floor=0.1)

    def test_pullbacks_and_positions_may_be_vectorised(self) -> None:
        """`torch.func.vmap` over positions, and over vector-Jacobian products, gives what a loop gives."""
        student = self.student()
        batch = self.batch(student, [WATER, SALT])

        def forces(positions: Tensor) -> Tensor:
            return forces_at(student, batch, positions)

        cotangents = torch.stack([displacement(batch), torch.ones_like(batch.positions)])
        pullback = torch.func.vjp(forces, batch.positions)[1]
        looped = torch.stack([pullback(each)[0] for each in cotangents])
        self.same(torch.func.vmap(pullback)(cotangents)[0], looped, 1e-12, "vectorised products", floor=0.1)
        places = batch.positions + 0.01 * cotangents
        looped = torch.stack([forces(each) for each in places])
        self.same(torch.func.vmap(forces)(places), looped, 1e-12, "forces at vectorised positions", floor=0.1)

    def test_parameters_may_be_passed_as_an_argument(self) -> None:
        """`torch.func.functional_call` with other parameters gives what a student with those parameters gives."""
        student = self.student()
        batch = self.batch(student, [WATER])
        others = {name: parameter + 0.05 for name, parameter in student.named_parameters()}
        module: Any = student

        def energy(parameters: dict[str, Tensor]) -> Tensor:
            inputs = batch.positions, batch
            return torch.func.functional_call(module, parameters, inputs).atomic_energies.square().sum()

        found, slopes = energy(others), torch.func.grad(energy)(others)
        student.load_state_dict({**student.state_dict(), **others})
        student.requires_grad_(True)
        expected = student(batch.positions, batch).atomic_energies.square().sum()
        self.same(found, expected, 1e-12, "square of the energies")
        expected.backward()
        for name, parameter in student.named_parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            self.same(slopes[name], gradient, 1e-10, f"gradient by {name}", floor=0.1)


def squares(part: Parts) -> Tensor:
    """A loss of every field of a prediction."""
    return part.atomic_energies.square().sum() + part.forces.square().sum() + part.hessian_rows.square().sum()


def loss(parts: list[Parts], scales: list[float]) -> Tensor:
    """The sum over structures of their scaled losses."""
    return torch.stack([scale * squares(part) for part, scale in zip(parts, scales, strict=True)]).sum()


def changed(student: Module, changes: list[Tensor], by: float) -> Module:
    """A copy with changed parameters."""
    other = copy.deepcopy(student).requires_grad_(False)
    for parameter, change in zip(other.parameters(), changes, strict=True):
        parameter.add_(by * change)
    return other

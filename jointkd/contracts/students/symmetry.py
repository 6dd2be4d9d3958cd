"""Symmetries of students: what a rotation, a translation, another order of atoms or another cell may change."""

from collections.abc import Sequence

import torch
from ase import Atoms

from jointkd.contracts.structures import CRYSTAL, PEROXIDE, ROTATION, SALT, turned
from jointkd.contracts.students.built import BuiltStudent
from jointkd.deploy.pair_form import EagerForm

GENERIC = (PEROXIDE, SALT)  # a molecule and a crystal without symmetry
BOUNDS = {torch.float64: 1e-10, torch.float32: 1e-5}  # of energies and forces; Hessian rows add up more numbers


class Symmetries(BuiltStudent):
    """Energies and forces depend on what a structure is, not on how it is described."""

    def test_energies_are_invariant_and_forces_and_rows_turn_with_the_structure(self) -> None:
        """A rotation or a reflection leaves atomic energies unchanged and turns forces and Hessian rows."""
        matrices = {"rotation": ROTATION, "rotation with a reflection": -ROTATION}
        others = [turned(atoms, matrix) for matrix in matrices.values() for atoms in GENERIC]
        for dtype, bound in BOUNDS.items():
            predictions = self.predictions(self.student(dtype), [*GENERIC, *others], 3, 4, 5)  # all rows of one atom
            before = predictions[: len(GENERIC)] * len(matrices)
            for number, (old, new) in enumerate(zip(before, predictions[len(GENERIC) :], strict=True)):
                name, matrix = list(matrices.items())[number // len(GENERIC)]
                q, after = torch.from_numpy(matrix), f"after a {name}, in {dtype}"
                self.same(new.atomic_energies, old.atomic_energies, bound, f"atomic energies {after}")
                self.same(new.forces, old.forces.double() @ q.T, bound, f"forces {after}", floor=0.1)
                expected = torch.einsum("xa,nab,yb->nxy", q, old.hessian_rows.double(), q)
                self.same(new.hessian_rows, expected, 5 * bound, f"Hessian rows {after}")

    def test_a_shifted_structure_has_the_same_energies_and_forces(self) -> None:
        """A translation changes neither atomic energies nor forces."""
        moved = [atoms.copy() for atoms in GENERIC]
        for atoms in moved:
            atoms.positions += [0.5, -2.0, 0.75]
        self.unchanged(moved, [slice(None)] * len(GENERIC), "after a translation")

    def test_reordered_atoms_have_reordered_energies_and_forces(self) -> None:
        """Another order of the atoms reorders atomic energies and forces."""
        orders = [[1, 0, *range(2, len(atoms))][::-1] for atoms in GENERIC]
        reordered = [atoms[order] for atoms, order in zip(GENERIC, orders, strict=True)]
        self.unchanged(reordered, orders, "in another order of atoms")

    def unchanged(self, changed: Sequence[Atoms], orders: Sequence[slice | list[int]], after: str) -> None:
        """Require that each atom of GENERIC, taken in an order, has the same energy and forces in what it became."""
        for dtype, bound in BOUNDS.items():
            predictions = self.predictions(self.student(dtype), [*GENERIC, *changed])
            for old, new, order in zip(predictions, predictions[len(GENERIC) :], orders, strict=False):
                self.same(new.atomic_energies, old.atomic_energies[order], bound, f"atomic energies {after}")
                self.same(new.forces, old.forces[order], bound, f"forces {after}", floor=0.1)

    def test_simulation_programs_may_give_pairs_in_any_order(self) -> None:
        """Energies and forces from vectors of pairs, in any order and direction, are those of the structure itself."""
        student = self.student()
        form = EagerForm(student)
        for atoms in GENERIC:
            batch = self.batch(student, [atoms])
            first = (torch.arange(len(batch.edge_reverse)) < batch.edge_reverse).nonzero()[:, 0]
            source, target = batch.edge_index
            vectors = batch.positions[source] + batch.edge_shift - batch.positions[target]
            (expected,) = self.predictions(student, [atoms])
            for order in (first, batch.edge_reverse[first].flip(0)):
                found = form(vectors[order], source[order], target[order], batch.atomic_numbers)
                self.same(found.atomic_energies, expected.atomic_energies, 1e-10, f"atomic energies of {atoms.symbols}")
                self.same(found.forces, expected.forces, 1e-10, f"forces of {atoms.symbols}", floor=0.1)

    def test_a_crystal_is_the_same_in_a_larger_cell_and_with_its_atoms_in_other_cells(self) -> None:
        """A crystal has the same energies and forces in a supercell, and with a periodic image in place of an atom."""
        image = CRYSTAL.copy()
        image.positions[1] += image.cell.array[0] - 2 * image.cell.array[2]
        before, repeated, moved = self.predictions(self.student(), [CRYSTAL, CRYSTAL.repeat((2, 1, 1)), image])
        self.same(repeated.atomic_energies, before.atomic_energies.repeat(2), 1e-10, "atomic energies in a supercell")
        self.same(repeated.forces, before.forces.repeat(2, 1), 1e-10, "forces in a supercell")
        self.same(moved.atomic_energies, before.atomic_energies, 1e-10, "atomic energies with another periodic image")
        self.same(moved.forces, before.forces, 1e-10, "forces with another periodic image")

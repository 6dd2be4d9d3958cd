"""Locality of students: structures of a batch, distant atoms, isolated atoms and atoms that cross the cutoff."""

from dataclasses import replace

import numpy as np
import torch
from ase import Atoms

from jointkd.contracts.properties import DoesNotApply, as_array
from jointkd.contracts.structures import (
    CRYSTAL,
    ETHANOL,
    SALT,
    SPECIAL,
    WATER,
    WITHOUT_EDGES,
)
from jointkd.contracts.students.built import BuiltStudent, separate
from jointkd.students.derivatives import predict


class Locality(BuiltStudent):
    """An atom's energy depends on its neighbours within the cutoff, and smoothly so."""

    def test_a_batch_equals_its_structures_one_by_one(self) -> None:
        """A batch of molecules, crystals and isolated atoms has the predictions of its structures one by one."""
        student = self.student()
        many = [ETHANOL, SALT, Atoms("H"), CRYSTAL, SPECIAL["wire"], SPECIAL["two atoms without edges"]]
        ids = torch.tensor([[8, 4], [5, 2], [1, 2], [3, 7], [4, 4], [2, 3]])
        batch = self.batch(student, many)
        together = separate(predict(student, batch, ids), batch)
        for atoms, rows, in_batch in zip(many, ids.tolist(), together, strict=True):
            (single,) = self.predictions(student, [atoms], *rows)
            for name, found, expected in zip(single._fields, in_batch, single, strict=True):
                self.same(found, expected, 1e-12, f"{name} of {atoms.symbols} in a batch", floor=0.1)

    def test_atomic_energies_sum_to_the_total_and_two_distant_copies_have_twice_the_energy(self) -> None:
        """Two distant copies of a molecule have twice its energy."""
        student = self.student()
        far = WATER.copy()
        far.positions += [10 * student.cutoff, 0.0, 0.0]
        single, double = self.predictions(student, [WATER, WATER + far])
        self.same(double.atomic_energies, single.atomic_energies.repeat(2), 1e-10, "atomic energies of two copies")

    def test_an_isolated_atom_has_its_reference_energy(self) -> None:
        """An isolated atom has exactly zero energy, because energies are relative to those of isolated atoms."""
        student = self.student()
        together = self.predictions(student, [*WITHOUT_EDGES.values(), Atoms("Cl")], 0, 2)
        for alone in [*together, *self.predictions(student, [Atoms("H")], 0, 2)]:
            self.within(float(alone.atomic_energies.abs().max()), 1e-12, "energy of an isolated atom, eV")
            for name in ("forces", "hessian_rows"):
                self.within(float(getattr(alone, name).abs().max()), 0.0, f"{name} of an isolated atom")

    def test_nothing_jumps_where_an_atom_crosses_the_cutoff(self) -> None:
        """Energies, forces and Hessian rows are continuous where an atom or a periodic image crosses the cutoff."""
        student, step = self.student(), 1e-6
        middle = float(np.sqrt(student.cutoff**2 - 0.01))
        for name, crossing in {"an atom": molecule_with, "a periodic image": crystal_with}.items():
            many = [crossing(student.cutoff, middle + by) for by in (-step, 0.0, step)]
            edges = [self.batch(student, [atoms]).edge_index.shape[1] for atoms in many]
            assert student.max_neighbors is not None or edges[0] != edges[2], "no atom crosses the cutoff"
            before, at, after = self.predictions(student, many, 6, 7, 0)
            for field in ("atomic_energies", "forces"):  # the second difference has no slope in it
                bend = getattr(before, field) - 2 * getattr(at, field) + getattr(after, field)
                self.within(float(bend.abs().max()), 1e-8, f"jump of {field} where {name} crosses the cutoff")
            jump = float((after.hessian_rows - before.hessian_rows).abs().max())
            self.within(jump, 1e-4, f"jump of hessian_rows where {name} crosses the cutoff")

    def test_forces_of_some_atoms_are_theirs_and_their_rows_are_the_same(self) -> None:
        """Forces of a few atoms alone (`forces_of`), and Hessian rows from them, are those from all forces."""
        student = self.student()
        batch = self.batch(student, [ETHANOL, SALT, Atoms("H"), SPECIAL["wire"]])
        prediction = student(batch.positions, batch)
        if prediction.forces_of is None or prediction.forces is None:
            raise DoesNotApply("the student gives no forces of a few atoms")
        atoms = torch.tensor([7, 0, 7, len(ETHANOL) + 1, len(ETHANOL) + len(SALT)])  # the last one is isolated
        self.same(prediction.forces_of(atoms), prediction.forces[atoms], 1e-12, "forces of a few atoms", floor=0.1)
        assert prediction.forces_of(atoms[:0]).shape == (0, 3), "the forces of no atoms must have the shape [0, 3]"

        def forces(positions: torch.Tensor) -> torch.Tensor:
            every = student(positions, batch).forces
            assert every is not None
            return every

        pullback = torch.func.vjp(forces, batch.positions)[1]
        ids = torch.tensor([[22, 4], [5, 2], [1, 2], [4, 4]])
        rows = predict(student, batch, ids).hessian_rows
        assert rows is not None
        for found, column in zip(rows.unbind(1), ids.unbind(1), strict=True):
            cotangent = torch.zeros_like(batch.positions).flatten().index_fill(0, 3 * batch.ptr[:-1] + column, -1)
            self.same(found, pullback(cotangent.view(-1, 3))[0], 1e-12, "Hessian rows of a few atoms", floor=0.1)

    def test_positions_count_only_through_the_vectors_of_edges(self) -> None:
        """Atoms at the origin, with the vectors of edges as their shifts, have the same energies and forces."""
        student = self.student()
        batch = self.batch(student, [ETHANOL, SALT])
        source, target = batch.edge_index
        vectors = batch.positions[source] + batch.edge_shift - batch.positions[target]
        moved = replace(batch, positions=torch.zeros_like(batch.positions), edge_shift=vectors)
        found, expected = predict(student, moved), predict(student, batch)
        self.same(found.atomic_energies, expected.atomic_energies, 1e-10, "atomic energies from vectors of edges")
        assert found.forces is not None
        assert expected.forces is not None
        self.same(found.forces, expected.forces, 1e-10, "forces from vectors of edges", floor=0.1)

    def test_positions_are_those_of_the_argument_and_the_batch_is_not_changed(self) -> None:
        """A prediction is for the positions that are passed to the student, and leaves its batch unchanged."""
        student = self.student()
        batch = self.batch(student, [ETHANOL, SALT])
        at = batch.positions.clone()
        expected = student(at, batch).atomic_energies
        before = {name: as_array(getattr(batch, name)).copy() for name in ("positions", "edge_shift", "edge_index")}
        found = student(at, replace(batch, positions=torch.zeros_like(at))).atomic_energies
        self.same(found, expected, 0.0, "atomic energies with other positions in the batch")
        for name, value in before.items():
            self.same(getattr(batch, name), value, 0.0, f"{name} of the batch after a prediction")


def molecule_with(cutoff: float, distance: float) -> Atoms:
    """A molecule with an atom whose distance to another along x is given, Å."""
    return Atoms("OCH", [[0, 0, 0], [1.2, 0, 0], [distance, 0.1, 0]])


def crystal_with(cutoff: float, distance: float) -> Atoms:
    """A crystal with an atom whose distance to a periodic image of another along x is given, Å."""
    length = cutoff + 2.1
    return Atoms("OCH", [[0, 0, 0], [1.2, 0, 0.3], [length - distance, 0.1, 0]], cell=[length, 9, 9], pbc=True)

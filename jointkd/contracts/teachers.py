"""The contract of teachers: labels are derivatives of one energy, whatever they are asked for together with."""

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from jointkd.contracts.labelled import SUBJECTS, Subject
from jointkd.contracts.properties import Contract, DoesNotApply
from jointkd.contracts.structures import COPPER, CRYSTAL, ETHANOL, PEROXIDE, ROTATION, SALT, WATER, frame
from jointkd.errors import TeacherError
from jointkd.labels.checks import acoustic_error, asymmetry, energy_error
from jointkd.labels.directions import draw_probes
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.structures.frame import Frame
from jointkd.teachers.spec import TeacherSpec

ROWS = np.array([3, 4, 5])  # all rows of the second atom


@dataclass(frozen=True)
class Bounds:
    """How far labels may be from what must hold: energies in eV per atom, all else relative to the largest entry."""

    same: float  # energies and forces that must be equal
    same_rows: float  # Hessian rows that must be equal
    forces: float  # forces, from differences of energies
    rows: float  # rows, from differences of forces


BOUNDS = {
    "float64": Bounds(same=1e-9, same_rows=1e-9, forces=1e-5, rows=1e-5),
    "float32": Bounds(same=2e-4, same_rows=2e-3, forces=1e-2, rows=1e-2),
    # of calculators that iterate, and whose rows are themselves differences
    "differences": Bounds(same=1e-4, same_rows=2e-2, forces=1e-3, rows=2e-2),
}


class TeacherContract(Contract):
    """What must hold for every teacher; a subclass sets `spec`, how the teacher is built.

        class TestMorse(TeacherContract):
            spec = TeacherSpec("my_module.Morse", {"name": "morse", "dtype": "float64", "depth": 4.0})

    Of the molecules and crystals those are taken whose elements the teacher knows and that it does not refuse.
    """

    spec: ClassVar[TeacherSpec]
    molecules: ClassVar[Sequence[Atoms]] = (PEROXIDE, ETHANOL, WATER)
    crystals: ClassVar[Sequence[Atoms]] = (CRYSTAL, SALT, COPPER)

    @property
    def subject(self) -> Subject:
        """The teacher, built once for all properties, with structures that it labels."""
        made_of = self.spec, self.molecules, self.crystals
        return SUBJECTS.setdefault(repr(made_of), Subject(*made_of))

    @property
    def bounds(self) -> Bounds:
        """How exact the labels of this teacher are."""
        teacher = self.subject.teacher
        return BOUNDS[getattr(teacher, "rows_precision", teacher.identity.dtype)]

    def label(self, many: Sequence[Frame], *rows: int) -> list[TeacherLabels]:
        """Labels of some structures, with the same Hessian rows of each."""
        return self.subject.teacher.label(list(many), [np.array(rows, dtype=np.int64)] * len(many))

    def agree(self, found: TeacherLabels, expected: TeacherLabels, after: str, turn: np.ndarray | None = None) -> None:
        """Require equal labels; turn: the matrix by which the structure of the found ones was rotated."""
        q, bounds = np.eye(3) if turn is None else turn, self.bounds
        count = len(expected.forces)
        self.within(abs(found.energy - expected.energy) / count, bounds.same, f"energy {after}, eV per atom")
        self.same(found.atomic_energies, expected.atomic_energies, bounds.same, f"atomic energies {after}", floor=1.0)
        self.same(found.forces, expected.forces @ q.T, bounds.same, f"forces {after}", floor=1.0)
        turned = turn is not None  # the three rows of one atom turn into each other
        rows = np.einsum("xa,anb,yb->xny", q, expected.hessian_rows, q) if turned else expected.hessian_rows
        self.same(found.hessian_rows, rows, bounds.same_rows, f"Hessian rows {after}", floor=1.0)

    def test_labels_are_finite_and_have_the_shapes_of_their_structure(self) -> None:
        """Labels are finite: an energy, atomic energies [N] or none, forces [N, 3] and Hessian rows [K, N, 3]."""
        identity = self.subject.teacher.identity
        for each in self.subject.frames:
            (labels,) = self.label([each], *ROWS)
            atoms = len(each)
            assert labels.finite(), f"labels of {each.source} are not finite"
            shapes = [array.shape for array in (labels.atomic_energies, labels.forces, labels.hessian_rows)]
            atomic = (atoms,) if identity.atomic_energies else (0,)
            expected = [atomic, (atoms, 3), (3, atoms, 3)]
            assert shapes == expected, f"shapes of the labels of {each.source} are {shapes}, expected {expected}"
            assert isinstance(labels.energy, float), f"the energy is {type(labels.energy).__name__}, must be float"
            assert labels.directions.tolist() == ROWS.tolist(), "directions must be those that were asked for"

    def test_atomic_energies_and_free_atoms_sum_to_the_energy(self) -> None:
        """Atomic energies and the energies of free atoms sum to the energy."""
        identity = self.subject.teacher.identity
        if not identity.atomic_energies:
            raise DoesNotApply("the teacher gives no atomic energies")
        for each, labels in zip(self.subject.frames, self.label(self.subject.frames), strict=True):
            error = energy_error(labels, each, identity)
            self.within(error, self.bounds.same, f"sum of atomic energies of {each.source}, eV per atom")

    def test_forces_are_the_negative_gradient_of_the_energy(self) -> None:
        """Forces are the negative gradient of the energy, by finite differences along a random displacement."""
        for each in self.subject.frames:
            move, (slopes, error) = self.subject.change(each)
            (labels,) = self.label([each])
            scale = max(float(np.abs(labels.forces).max()), 1.0)
            self.within(error[0] / scale, self.bounds.forces, f"differences of the energy of {each.source}")
            found = -float((labels.forces * move).sum())
            self.within(abs(found - slopes[0]) / scale, self.bounds.forces, f"forces on {each.source}")

    def test_hessian_rows_are_derivatives_of_forces(self) -> None:
        """Hessian rows are the negative derivatives of forces, by finite differences along a random displacement."""
        for each in self.subject.frames:
            move, (slopes, error) = self.subject.change(each)
            (labels,) = self.label([each], *ROWS)
            scale = max(float(np.abs(labels.hessian_rows).max()), 1.0)
            self.within(max(error[1 + ROWS]) / scale, self.bounds.rows, f"differences of forces on {each.source}")
            found = np.einsum("knx,nx->k", labels.hessian_rows, move)
            worst = float(np.abs(found + slopes[1 + ROWS]).max()) / scale
            self.within(worst, self.bounds.rows, f"Hessian rows of {each.source}")

    def test_hessian_rows_sum_to_zero_and_are_symmetric_where_they_cross(self) -> None:
        """Each Hessian row sums to zero over the atoms, and entries where two rows cross are equal."""
        for each in self.subject.frames:
            (labels,) = self.label([each], *range(3 * len(each)) if len(each) < 5 else ROWS)
            self.within(acoustic_error(labels), self.bounds.same_rows, f"sum of a Hessian row of {each.source}")
            self.within(asymmetry(labels), self.bounds.same_rows, f"asymmetry of the Hessian of {each.source}")

    def test_rows_are_those_that_were_asked_for_in_their_order(self) -> None:
        """Some Hessian rows in any order are those of the full Hessian; no rows is an answer too."""
        each = self.subject.frames[0]
        chosen = [5, 0, 3]
        (every,), (some,), (none,) = (
            self.label([each], *range(3 * len(each))),
            self.label([each], *chosen),
            self.label([each]),
        )
        assert some.directions.tolist() == chosen, f"directions are {some.directions.tolist()}, asked for were {chosen}"
        self.same(
            some.hessian_rows, every.hessian_rows[chosen], self.bounds.same_rows, "rows in another order", floor=1.0
        )
        shape = none.hessian_rows.shape
        assert shape == (0, len(each), 3), f"no rows have the shape {shape}, expected {(0, len(each), 3)}"
        self.same(none.forces, every.forces, self.bounds.same, "forces without rows", floor=1.0)

    def test_products_with_probes_are_those_of_the_full_hessian(self) -> None:
        """Products of the Hessian with probes are those of the full Hessian, also beside rows of another structure."""
        each, *others = self.subject.frames[:2]
        probes = draw_probes(each.key, len(each), 2, seed=0)
        try:
            some, *_ = self.subject.teacher.label([each, *others], [probes, *[ROWS] * len(others)])
        except TeacherError as error:
            raise DoesNotApply("the teacher refuses probes") from error
        (every,) = self.label([each], *range(3 * len(each)))
        expected = np.einsum("kr,rnx->knx", probes.reshape(2, -1), every.hessian_rows)
        assert np.array_equal(some.directions, probes), "directions must be the probes that were asked for"
        self.same(
            some.hessian_rows, expected, self.bounds.same_rows, f"products with probes of {each.source}", floor=1.0
        )

    def test_a_batch_has_the_labels_of_its_structures_one_by_one(self) -> None:
        """A batch of structures with different numbers of rows has the labels of its structures one by one."""
        many = self.subject.frames
        ids = [np.array(rows, dtype=np.int64) for rows in ([4, 1], [], [2])]
        ids = [ids[number % len(ids)] for number in range(len(many))]
        together = self.subject.teacher.label(many, ids)
        for each, rows, labels in zip(many, ids, together, strict=True):
            (single,) = self.label([each], *rows)
            self.agree(labels, single, f"of {each.source} in a batch")

    def test_labels_are_the_same_again_and_structures_are_not_changed(self) -> None:
        """Labelling twice gives the same labels, and does not change the structure."""
        each = self.subject.frames[0]
        before = replace(each, positions=each.positions.copy(), cell=each.cell.copy(), numbers=each.numbers.copy())
        (one,), (two,) = self.label([each], *ROWS), self.label([each], *ROWS)
        self.agree(two, one, "the second time")
        assert each.key == replace(each).key == before.key, "labelling changed the positions, elements or cell"

    def test_a_translation_changes_no_label(self) -> None:
        """A translation changes no label."""
        many = self.subject.frames
        moved = [replace(each, positions=each.positions + np.array([3.0, -20.0, 7.5])) for each in many]
        for each, new, old in zip(many, self.label(moved, *ROWS), self.label(many, *ROWS), strict=True):
            self.agree(new, old, f"of {each.source} after a translation")

    def test_a_rotation_turns_forces_and_rows(self) -> None:
        """A rotation leaves energies unchanged and turns forces and Hessian rows."""
        self.turned(ROTATION, "after a rotation")

    def test_a_reflection_turns_forces_and_rows(self) -> None:
        """A reflection leaves energies unchanged and reflects forces and Hessian rows."""
        self.turned(-np.eye(3), "after an inversion")

    def turned(self, matrix: np.ndarray, after: str) -> None:
        """Require labels that turn with a structure; matrix [3, 3] is orthogonal."""
        many = self.subject.frames
        moved = [replace(each, positions=each.positions @ matrix.T, cell=each.cell @ matrix.T) for each in many]
        for each, new, old in zip(many, self.label(moved, *ROWS), self.label(many, *ROWS), strict=True):
            self.agree(new, old, f"of {each.source} {after}", turn=matrix)

    def test_another_order_of_atoms_reorders_labels(self) -> None:
        """Another order of the atoms reorders atomic energies, forces and Hessian rows."""
        for each in self.subject.frames:
            order = np.roll(np.arange(len(each)), 1)  # the second atom becomes the third
            moved = replace(each, numbers=each.numbers[order], positions=each.positions[order])
            (old,), (new,) = (
                self.label([each], *ROWS),
                self.label([moved], *(3 * int(np.argmax(order == 1)) + np.arange(3))),
            )
            atomic = old.atomic_energies[order] if old.atomic_energies.size else old.atomic_energies
            expected = replace(
                old, atomic_energies=atomic, forces=old.forces[order], hessian_rows=old.hessian_rows[:, order]
            )
            self.agree(new, expected, f"of {each.source} in another order")

    def test_a_periodic_image_in_place_of_an_atom_changes_no_label(self) -> None:
        """A crystal has the same labels with an atom replaced by its periodic image."""
        each = self.crystal()
        image = replace(each, positions=each.positions.copy())
        image.positions[1] += each.cell[0] - 2 * each.cell[2]
        (old,), (new,) = self.label([each], *ROWS), self.label([image], *ROWS)
        self.agree(new, old, f"of {each.source} with another periodic image")

    def test_a_supercell_has_the_energy_and_forces_of_its_cells(self) -> None:
        """A crystal has twice the energy and the same forces in a cell that is twice as large."""
        each = self.crystal()
        two = each.to_ase().repeat((2, 1, 1))
        (single,), (double,) = self.label([each]), self.label([frame(two)])
        error = abs(double.energy - 2 * single.energy) / len(two)
        self.within(error, self.bounds.same, f"energy of two cells of {each.source}, eV per atom")
        forces = np.concatenate([single.forces, single.forces])
        self.same(double.forces, forces, self.bounds.same, f"forces in two cells of {each.source}", floor=1.0)

    def crystal(self) -> Frame:
        """A crystal that the teacher labels."""
        for each in self.subject.frames:
            if each.pbc.all():
                return each
        raise DoesNotApply("the teacher labels none of the crystals")

    def test_unknown_elements_are_refused(self) -> None:
        """A structure with an element that the teacher does not know is refused with a TeacherError."""
        known = self.subject.teacher.identity.elements
        unknown = next((z for z in range(len(chemical_symbols) - 1, 0, -1) if z not in known), None)
        if unknown is None:
            raise DoesNotApply("the teacher knows every element")
        strange = frame(Atoms([unknown, known[0]], [[0, 0, 0], [0, 0, 1.8]]))
        try:
            self.label([strange])
        except TeacherError:
            return
        raise AssertionError(f"{chemical_symbols[unknown]} is not among identity.elements, and was labelled")

    def test_free_atom_energies_are_known_for_all_elements_or_for_none(self) -> None:
        """Energies of free atoms are known for all elements of the teacher, or for none."""
        identity = self.subject.teacher.identity
        missing = [chemical_symbols[z] for z in identity.elements if z not in identity.free_atom_energies]
        if not identity.free_atom_energies:
            raise DoesNotApply("the teacher knows no energies of free atoms")
        assert not missing, f"free_atom_energies lacks {', '.join(missing)}"
        finite = all(np.isfinite(energy) for energy in identity.free_atom_energies.values())
        assert finite, "an energy of a free atom is not finite"

    def test_the_identity_is_stable_and_survives_json_and_pickle(self) -> None:
        """A teacher that is built again has the same identity, also after a way through JSON or pickle."""
        identity = self.subject.teacher.identity
        again = {
            "when it is built again": self.spec.build().identity,
            "from JSON": TeacherIdentity.from_json(json.loads(json.dumps(identity.to_json()))),
            "from pickle": pickle.loads(pickle.dumps(identity)),
        }
        for how, other in again.items():
            assert other == identity, f"the identity {how} is {other}, was {identity}"
        assert pickle.loads(pickle.dumps(self.spec)) == self.spec, "the TeacherSpec cannot be pickled"

    def test_the_specification_agrees_with_the_identity(self) -> None:
        """Name, dtype, head and checksum that are known before a teacher is built are those of its identity."""
        identity = self.subject.teacher.identity.fingerprint()
        for name, known in self.spec.fingerprint().items():
            assert identity[name] == known, f"{name} is {known!r} before and {identity[name]!r} in the identity"
        members = self.subject.teacher.identity.members
        assert members == self.spec.members, f"identity.members={members} must be {self.spec.members}"

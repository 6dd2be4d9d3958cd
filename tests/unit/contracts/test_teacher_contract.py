"""Every property of the contract of teachers fails for a teacher that lacks it, and holds for one that has it."""

from dataclasses import replace

import numpy as np
import pytest

from jointkd.contracts.properties import DOES_NOT_APPLY, FAILED, outcome, outcomes, properties
from jointkd.contracts.teachers import TeacherContract
from jointkd.errors import TeacherError
from jointkd.labels.directions import are_probes
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.structures.frame import Frame
from jointkd.structures.neighbors import find_pairs
from jointkd.teachers.spec import TeacherSpec
from tests.teachers import along

RANGE = 5.0  # Å
ELEMENTS = (1, 6, 8, 9, 11, 17)


class Faulty:
    """Every pair of atoms repels by exp(-r²) while they are near; with a named fault, or without."""

    batch_atoms = 100
    built = 0

    def __init__(self, name: str, dtype: str, fault: str = "") -> None:
        self.fault = fault
        Faulty.built += 1
        free = dict.fromkeys(ELEMENTS[1:] if fault == "a free atom less" else ELEMENTS, -10.0)
        checkpoint = str(Faulty.built) if fault == "another checksum each time" else "0"
        name = "other" if fault == "another name" else name
        self.identity = TeacherIdentity(name, checkpoint, dtype, ELEMENTS, free)

    def label(self, frames: list[Frame], directions: list[np.ndarray]) -> list[TeacherLabels]:
        unknown = {z for frame in frames for z in frame.numbers.tolist()} - {*ELEMENTS}
        if unknown and self.fault != "any element":
            raise TeacherError("unknown element", "take another")
        labels = [self.one(frame, ids, len(frames)) for frame, ids in zip(frames, directions, strict=True)]
        if self.fault == "changes its structures":
            frames[0].positions[0] += 1.0
        return labels

    def one(self, frame: Frame, ids: np.ndarray, together: int) -> TeacherLabels:
        fault, n = self.fault, len(frame)
        pairs = find_pairs(frame.positions, frame.cell, frame.pbc & (fault != "no images"), RANGE)
        images = pairs.images if len(pairs.images) else np.zeros((len(pairs.atoms), 3))
        shift = images @ frame.cell
        if fault == "images in the cell alone":
            shift = 0 * shift + (images @ frame.cell if np.abs(images).max(initial=0) < 2 else 0.1)
        atomic, forces, hessian = np.zeros(n), np.zeros((n, 3)), np.zeros((n, 3, n, 3))
        strength = np.sqrt(frame.numbers)
        for (i, j), by in zip(pairs.atoms, shift, strict=True):
            d = frame.positions[j] + by - frame.positions[i]
            e = strength[i] * strength[j] * np.exp(-(d @ d))
            np.add.at(atomic, [i, j], e / 2)  # also where an atom meets its own image
            if i == j:
                continue
            forces[i] -= 2 * e * d
            forces[j] += 2 * e * d
            block = e * (4 * np.outer(d, d) - 2 * np.eye(3))
            for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
                hessian[a, :, b] += sign * block
        probes = are_probes(ids) and fault == "rows of probes"
        rows = along(hessian.reshape(3 * n, n, 3), np.arange(len(ids)) if probes else ids)
        energy = float(atomic.sum()) - 10.0 * n
        if fault == "sum of energies":
            energy += 0.1
        if fault == "sign of forces":
            forces = -forces
        if fault == "sign of rows":
            rows = -rows
        if fault == "an asymmetric Hessian":
            rows = rows * (1 + 0.1 * frame.positions[:, :1])
        if fault == "rows in ascending order":
            rows, ids = rows[np.argsort(ids)], np.sort(ids)
        if fault == "batches" and together > 1:
            forces = forces + 0.01
        if fault == "place in space":
            atomic, energy = atomic + frame.positions[:, 0].sum() / n, energy + frame.positions[:, 0].sum()
        if fault == "a preferred axis":
            forces = forces * [1.0, 1.0, 1.01]
        if fault == "a preferred hand" and n > 3:
            energy += 0.1 * np.linalg.det(frame.positions[1:4] - frame.positions[0])
        if fault == "order of atoms":
            forces = forces * (1 + 0.01 * np.arange(n)[:, None])
        if fault == "not finite":
            forces = forces * np.nan if len(ids) else forces
        return TeacherLabels(energy, atomic, forces, rows, ids)


FAULTS = {
    "not finite": "test_labels_are_finite_and_have_the_shapes_of_their_structure",
    "sum of energies": "test_atomic_energies_and_free_atoms_sum_to_the_energy",
    "sign of forces": "test_forces_are_the_negative_gradient_of_the_energy",
    "sign of rows": "test_hessian_rows_are_derivatives_of_forces",
    "an asymmetric Hessian": "test_hessian_rows_sum_to_zero_and_are_symmetric_where_they_cross",
    "rows in ascending order": "test_rows_are_those_that_were_asked_for_in_their_order",
    "rows of probes": "test_products_with_probes_are_those_of_the_full_hessian",
    "batches": "test_a_batch_has_the_labels_of_its_structures_one_by_one",
    "changes its structures": "test_labels_are_the_same_again_and_structures_are_not_changed",
    "place in space": "test_a_translation_changes_no_label",
    "a preferred axis": "test_a_rotation_turns_forces_and_rows",
    "a preferred hand": "test_a_reflection_turns_forces_and_rows",
    "order of atoms": "test_another_order_of_atoms_reorders_labels",
    "no images": "test_a_periodic_image_in_place_of_an_atom_changes_no_label",
    "images in the cell alone": "test_a_supercell_has_the_energy_and_forces_of_its_cells",
    "any element": "test_unknown_elements_are_refused",
    "a free atom less": "test_free_atom_energies_are_known_for_all_elements_or_for_none",
    "another checksum each time": "test_the_identity_is_stable_and_survives_json_and_pickle",
    "another name": "test_the_specification_agrees_with_the_identity",
}


def contract_of(fault: str = "", kind: str = "Faulty", dtype: str = "float64") -> type[TeacherContract]:
    spec = TeacherSpec(f"{__name__}.{kind}", {"name": "pairs", "dtype": dtype, "fault": fault})
    return type("Own", (TeacherContract,), {"spec": spec})


def test_a_teacher_without_fault_has_every_property():
    found = list(outcomes(contract_of()))
    assert [str(each) for each in found if each.verdict in (FAILED, DOES_NOT_APPLY)] == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_by_the_property_that_it_breaks(fault):
    found = outcome(contract_of(fault), FAULTS[fault])
    assert found.verdict == FAILED, found


def test_every_property_has_a_fault_that_breaks_it():
    assert {*FAULTS.values()} == {*properties(TeacherContract)}


class OnlyMolecules(Faulty):
    """Refuses periodic structures."""

    def label(self, frames, directions):
        if any(frame.pbc.any() for frame in frames):
            raise TeacherError("periodic", "take another")
        return super().label(frames, directions)


class WithoutAtomicEnergies(Faulty):
    """Gives no energies of atoms, and knows no free atoms."""

    def __init__(self, **options):
        super().__init__(**options)
        self.identity = replace(self.identity, atomic_energies=False, free_atom_energies={})

    def one(self, frame, ids, together):
        return replace(super().one(frame, ids, together), atomic_energies=np.zeros(0))


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [
        ("OnlyMolecules", ["the teacher labels none of the crystals"] * 2),
        (
            "WithoutAtomicEnergies",
            ["the teacher gives no atomic energies", "the teacher knows no energies of free atoms"],
        ),
    ],
)
def test_properties_of_what_a_teacher_does_not_give_do_not_apply(kind, reasons):
    found = list(outcomes(contract_of(kind=kind)))
    assert [str(each) for each in found if each.verdict == FAILED] == []
    assert [each.detail for each in found if each.verdict == DOES_NOT_APPLY] == reasons


class KnowsTwoMetals(Faulty):
    """Knows none of the elements of the molecules and crystals."""

    def __init__(self, **options):
        super().__init__(**options)
        self.identity = replace(self.identity, elements=(79, 47), free_atom_energies={79: -10.0, 47: -10.0})

    def label(self, frames, directions):
        if any({*frame.numbers.tolist()} - {79, 47} for frame in frames):
            raise TeacherError("unknown element", "take another")
        return [self.one(frame, ids, len(frames)) for frame, ids in zip(frames, directions, strict=True)]


def test_a_teacher_of_other_elements_is_checked_on_a_cluster_of_them():
    found = list(outcomes(contract_of(kind="KnowsTwoMetals")))
    assert [str(each) for each in found if each.verdict == FAILED] == []

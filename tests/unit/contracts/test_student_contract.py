"""Every property of the contract of students fails for a student that lacks it, and holds for one that has it."""

import pytest
import torch
from torch import Tensor, nn

from jointkd.contracts.properties import DOES_NOT_APPLY, FAILED, outcome, outcomes, properties
from jointkd.contracts.students import StudentContract
from jointkd.structures.batch import Prediction, Structure
from jointkd.students.basis import PolynomialEnvelope


class Backward(torch.autograd.Function):
    """The identity, without a derivative in forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, cotangent):
        return cotangent


class Faulty(nn.Module):
    """Every pair of atoms attracts by the product of their charges and repels; with a named fault, or without."""

    max_neighbors = None

    def __init__(self, fault: str = "", conservative: bool = True, cutoff: float = 4.0, elements: int = 83) -> None:
        super().__init__()
        self.fault, self.conservative, self.cutoff, self.elements = fault, conservative, cutoff, elements
        self.charge = nn.Parameter(torch.randn(elements - (fault == "one element less")))
        self.envelope = PolynomialEnvelope()
        self.unsaved = [torch.rand(1)]
        self.alias = [self.charge]

    def forward(self, positions: Tensor, structure: Structure) -> Prediction:
        fault = self.fault
        source, target = structure.edge_index
        at = structure.positions if fault == "positions of the batch" else positions
        shift = -structure.edge_shift if fault == "sign of the shift" else structure.edge_shift
        vectors = at[source] + shift - at[target]
        distances = vectors.square().sum(1).sqrt()
        if fault == "a preferred axis":
            distances = distances + 0.1 * vectors[:, 0]
        if fault == "half a derivative":
            distances = (distances + distances.detach()) / 2
        charge = self.alias[0] if fault == "parameters of another name" else self.charge
        charge = charge[structure.atomic_numbers - 1]
        if fault == "numbers of atoms":
            charge = charge + 1e-3 * torch.arange(len(charge))
        pairs = ((-2 * distances).exp() - charge[source] * charge[target] * (-distances).exp()) / 2
        if fault != "a sharp cutoff":
            pairs = pairs * self.envelope(distances / self.cutoff)
        if fault == "order of edges":
            pairs = pairs * torch.linspace(1, 2, len(pairs))
        strength = pairs[:, None] * vectors
        atomic = torch.zeros_like(positions[:, 0]).index_add(0, target, pairs)
        if fault == "a root at zero":
            atomic = atomic + torch.zeros_like(positions).index_add(0, target, strength).square().sum(1).sqrt()
        if fault == "no zero":
            atomic = atomic + charge
        if fault == "mean over the batch":
            atomic = atomic + 1e-6 * atomic.mean()
        if fault == "place in space":
            atomic = atomic + 1e-6 * positions.square().sum(1)
        if fault == "distance from the centre":
            atomic = atomic + 1e-6 * (positions - positions.mean(0)).square().sum(1)
        if fault == "unsaved weights":
            atomic = atomic * self.unsaved[0].to(atomic.dtype)
        if fault == "float32 inside":
            atomic = atomic.float().double()
        if fault == "a number in Python":
            atomic = atomic * (1.0 if float(distances.detach().sum()) else 2.0)
        if fault == "number of atoms":
            atomic = atomic * structure.atoms_per_structure[structure.batch]
        if fault == "a constant in single precision" and atomic.dtype == torch.float32:
            atomic = atomic * 1.0001
        if fault == "a largest distance":
            atomic = atomic / distances.detach().amax() * distances.detach().amax()
        if fault == "no forward mode":
            atomic = Backward.apply(atomic)
        if self.conservative:
            return Prediction(atomic)
        forces = torch.zeros_like(positions).index_add(0, target, strength)

        def forces_of(atoms: Tensor) -> Tensor:
            return forces[atoms] * (2 if fault == "other forces of a few atoms" else 1)

        return Prediction(atomic, forces, forces_of=forces_of)


FAULTS = {
    "a preferred axis": "test_energies_are_invariant_and_forces_and_rows_turn_with_the_structure",
    "place in space": "test_a_shifted_structure_has_the_same_energies_and_forces",
    "numbers of atoms": "test_reordered_atoms_have_reordered_energies_and_forces",
    "sign of the shift": "test_a_crystal_is_the_same_in_a_larger_cell_and_with_its_atoms_in_other_cells",
    "mean over the batch": "test_a_batch_equals_its_structures_one_by_one",
    "no zero": "test_an_isolated_atom_has_its_reference_energy",
    "a sharp cutoff": "test_nothing_jumps_where_an_atom_crosses_the_cutoff",
    "other forces of a few atoms": "test_forces_of_some_atoms_are_theirs_and_their_rows_are_the_same",
    "distance from the centre": "test_positions_count_only_through_the_vectors_of_edges",
    "order of edges": "test_simulation_programs_may_give_pairs_in_any_order",
    "positions of the batch": "test_positions_are_those_of_the_argument_and_the_batch_is_not_changed",
    "half a derivative": "test_forces_of_a_conservative_student_are_central_differences_of_its_energy",
    "a root at zero": "test_hessian_rows_and_gradients_of_their_loss_are_differences_in_structures_of_high_symmetry",
    "a number in Python": "test_pullbacks_and_positions_may_be_vectorised",
    "parameters of another name": "test_parameters_may_be_passed_as_an_argument",
    "float32 inside": "test_predictions_have_the_dtype_and_shape_of_what_was_asked",
    "one element less": "test_every_element_up_to_the_highest_is_known",
    "unsaved weights": "test_a_state_dict_holds_all_that_predictions_depend_on",
    "number of atoms": "test_atomic_energies_sum_to_the_total_and_two_distant_copies_have_twice_the_energy",
    "a constant in single precision": "test_float32_predictions_are_close_to_float64",
    "a largest distance": "test_hessian_rows_and_gradients_of_their_loss_exist_without_any_edges",
    "no forward mode": "test_directional_derivatives_are_those_of_finite_differences",
}


def contract_of(**options) -> type[StudentContract]:
    config = {"_target_": f"{__name__}.Faulty", **options}
    return type("Own", (StudentContract,), {"config": config})


@pytest.mark.parametrize("conservative", [True, False])
def test_a_student_without_fault_has_every_property_that_applies(conservative):
    verdicts = {each.says: each for each in outcomes(contract_of(conservative=conservative))}
    assert [str(each) for each in verdicts.values() if each.verdict == FAILED] == []
    (other,) = [each for each in verdicts.values() if each.verdict == DOES_NOT_APPLY]
    assert other.detail == (
        "the student gives no forces of a few atoms" if conservative else "a force head is not a gradient"
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_by_the_property_that_it_breaks(fault):
    contract = contract_of(fault=fault, conservative=fault != "other forces of a few atoms")
    assert outcome(contract, FAULTS[fault]).verdict == FAILED


def test_a_failure_has_the_error_and_its_bound():
    found = outcome(contract_of(fault="no zero"), FAULTS["no zero"])
    assert found.detail.startswith("energy of an isolated atom, eV: ")
    assert found.detail.endswith(", bound 1e-12")


def test_weights_that_a_file_does_not_hold_are_found():
    assert (
        outcome(contract_of(fault="unsaved weights"), "test_a_students_file_gives_the_same_student").verdict == FAILED
    )


def test_every_property_has_a_fault_that_breaks_it():
    assert {*FAULTS.values(), "test_a_students_file_gives_the_same_student"} == {*properties(StudentContract)}


def test_an_error_in_the_students_code_has_its_place():
    found = outcome(contract_of(fault="one element less"), FAULTS["one element less"])
    assert found.detail.startswith("IndexError: ")
    assert "test_student_contract.py line " in found.detail

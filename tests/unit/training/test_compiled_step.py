"""A compiled step: the loss, means and gradients of the student itself, or else the student itself."""

import copy
import re
from dataclasses import replace

import pytest
import torch
from torch._inductor.utils import run_and_get_code

from jointkd.structures.batch import MicroBatch
from jointkd.structures.padding import pad
from jointkd.students.derivatives import predict
from jointkd.students.operations import plain_graph
from jointkd.students.painn import PaiNN
from jointkd.training.compiled_step import CompiledStep
from jointkd.training.loss import AtomicEnergy, Energy, Forces, Hessian, Stress, needs
from jointkd.training.traced_step import inductor, tensors_of
from jointkd.training.weighted_sum import weighted_sum
from tests.structures import CUTOFF, with_probes
from tests.unit.structures.test_padding import PAINN, STUDENTS, batch_of_three, size_with_room

METHODS = {
    "none": {"energy": Energy(5, "mae"), "forces": Forces(100, "l2")},
    "hessian": {"energy": Energy(5, "mae"), "forces": Forces(100, "l2"), "hessian": Hessian(400, "l2", rows=2)},
    "without energies": {"forces": Forces(100, "mse")},
    "stress": {"forces": Forces(100, "l2"), "stress": Stress(10, "mae")},
    "joint": {
        "energy": Energy(5, "mae"),
        "forces": Forces(100, "l2"),
        "atomic_energy": AtomicEnergy(20, "huber"),
        "hessian": Hessian(400, "l2", rows=2, limit=2.0),
    },
}


def as_it_is(graph, arguments):
    """In the place of a compiler."""
    return graph


class Eager:
    """The loss, operation by operation."""

    def __init__(self, student, terms) -> None:
        self.student, self.terms, self.calls = student, terms, 0

    def __call__(self, batch):
        self.calls += 1
        rows, stress = needs(self.terms.values())
        prediction = predict(self.student, batch, batch.directions if rows else None, stress)
        return weighted_sum(self.terms, {name: term(prediction, batch) for name, term in self.terms.items()}, batch)


def setting(name: str = "painn", method: str = "joint", compiler=as_it_is):
    """A student, a padded batch, its eager step and its compiled step."""
    torch.manual_seed(1)
    student, terms = STUDENTS[name]().double(), copy.deepcopy(METHODS[method])
    batch = batch_of_three()
    padded = pad(batch, size_with_room(batch), 2 * CUTOFF)
    padded = replace(padded, graph=plain_graph(student.graph_of, padded))
    eager = Eager(student, terms)
    return student, padded, eager, CompiledStep(student, terms, eager, compiler)


def outcome(student, step, batch) -> dict[str, torch.Tensor]:
    """Loss, means and gradients."""
    student.zero_grad()
    loss, means = step(batch)
    (3 * loss).backward()
    gradients = {name: parameter.grad for name, parameter in student.named_parameters() if parameter.grad is not None}
    return {"loss": loss.detach(), **means, **gradients}


def assert_same(found, expected, tolerance: float = 1e-10) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        largest = max(float(value.abs().max()), 1e-3)
        assert float((found[name] - value).abs().max()) < tolerance * largest, name


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *((name, "joint") for name in STUDENTS if name != "gemnet_t"),
        pytest.param("gemnet_t", "joint", marks=pytest.mark.slow),
        *(("painn", method) for method in ("none", "hessian", "without energies")),
        ("conservative painn", "stress"),
    ],
)
def test_a_traced_step_has_the_loss_means_and_gradients_of_the_student(name, method):
    student, batch, eager, step = setting(name, method)
    found = outcome(student, step, batch)
    assert not step.failed
    assert not eager.calls
    assert_same(found, outcome(student, eager, batch))
    (made,) = step.steps.values()
    targets = {str(node.target) for node in made.graph.graph.nodes}
    assert not any(name in target for target in targets for name in ("nonzero", "local_scalar", "unique"))


def test_a_traced_step_learns_products_with_probes_as_the_student_does():
    student, batch, eager, step = setting()
    probed = with_probes(batch)
    assert_same(outcome(student, step, probed), outcome(student, eager, probed))
    step(batch)
    assert not step.failed
    assert len(step.steps) == 2  # probes and rows go in differently


def test_weights_and_labels_may_change_without_another_trace():
    student, batch, eager, step = setting()
    step(batch)
    step.terms["hessian"].weight *= 0.5
    step.terms["hessian"].limit = 1.0
    other = replace(batch, forces=batch.forces + 1, whole=MicroBatch(7, 50, parts=2, last=False))
    assert_same(outcome(student, step, other), outcome(student, eager, other))
    assert len(step.steps) == 1


def test_the_share_of_completed_labels_may_change_without_another_trace():
    student, batch, eager, step = setting(method="none")
    flags = torch.zeros(batch.num_structures, 2, dtype=torch.bool)
    flags[0, 0] = flags[1, 1] = True
    completed = replace(batch, from_teacher=flags)
    before = outcome(student, step, completed)
    for term in eager.terms.values():
        term.teachers_share = 0.0
    found = outcome(student, step, completed)
    assert_same(found, outcome(student, eager, completed))
    assert not torch.allclose(found["energy"], before["energy"])
    assert not torch.allclose(found["forces"], before["forces"])
    assert not step.failed
    assert len(step.steps) == 1


def test_parameters_may_change_in_place_and_also_move():
    student, batch, eager, step = setting(method="none")
    step(batch)
    (first,) = step.steps.values()
    with torch.no_grad():
        student.embedding.weight.mul_(1.1)
    assert_same(outcome(student, step, batch), outcome(student, eager, batch))
    assert list(step.steps.values()) == [first]
    student.embedding.weight.data = 1.1 * student.embedding.weight.data
    assert_same(outcome(student, step, batch), outcome(student, eager, batch))
    assert list(step.steps.values()) != [first]


def test_each_size_is_compiled_once_and_batches_without_padding_never():
    student, _, eager, step = setting(method="none")
    one = batch_of_three()
    for more in (0, 8, 0, 8):
        size = size_with_room(one)
        padded = pad(one, size._replace(atoms=size.atoms + more), 2 * CUTOFF)
        step(replace(padded, graph=plain_graph(student.graph_of, padded)))
    assert len(step.steps) == 2
    assert not eager.calls
    assert_same(outcome(student, step, one), outcome(student, Eager(student, step.terms), one))
    assert eager.calls == 1


class Waits(PaiNN):
    """A student that reads a value off a tensor."""

    def from_vectors(self, vectors, graph, atomic_numbers):
        if float(vectors.abs().max()) > 1e6:
            raise ValueError
        return super().from_vectors(vectors, graph, atomic_numbers)


def test_a_student_that_cannot_be_traced_runs_as_it_is_and_the_log_says_so_once(caplog):
    _, batch, _, _ = setting()
    student = Waits(**PAINN, cutoff=CUTOFF).double()
    eager = Eager(student, METHODS["joint"])
    step = CompiledStep(student, METHODS["joint"], eager, as_it_is)
    assert_same(outcome(student, step, batch), outcome(student, eager, batch))
    step(batch)
    assert step.failed
    assert len([record for record in caplog.records if "is not compiled" in record.message]) == 1


@pytest.mark.parametrize("number", [1, 3], ids=["sums", "gradients"])
def test_a_compiler_that_is_wrong_is_not_used(number, caplog):
    def wrong(graph, arguments):
        def function(*given):
            outputs = list(graph(*given))
            outputs[number] = 1.02 * outputs[number]
            return outputs

        return function

    student, batch, eager, step = setting(method="none", compiler=wrong)
    assert_same(outcome(student, step, batch), outcome(student, eager, batch))
    assert step.failed
    assert re.search(r"compiled (sums of terms|gradients) differ from the student's by", caplog.text)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["painn", "conservative painn", "gemnet_dt"])
def test_torchs_compiler_gives_the_gradients_of_the_student(name):
    student, batch, eager, step = setting(name, compiler=inductor)
    found = outcome(student, step, batch)
    assert not step.failed
    assert_same(found, outcome(student, eager, batch))


@pytest.mark.slow
def test_a_compiled_step_calls_a_quarter_of_the_operations():
    _, batch, _, step = setting()
    step(batch)
    (made,) = step.steps.values()
    operations = [node for node in made.graph.graph.nodes if node.op == "call_function"]
    arguments = [
        *made.state,
        *tensors_of(batch).tensors,
        *(term.all_weights(batch) for term in step.terms.values()),
        torch.ones(4, dtype=torch.float64),
    ]
    _, code = run_and_get_code(inductor(made.graph, arguments), *arguments)
    calls = re.findall(r"^\s+(?:cpp_fused\w*|extern_kernels\.\w+|torch\.ops\.\S+)\(", "\n".join(code), re.MULTILINE)
    assert len(calls) <= len(operations) / 4

"""The cases of the benchmark of differences do what their names say."""

import torch

from jointkd.students.derivatives import predict
from jointkd.students.painn import PaiNN
from tests.benchmarks.differences import CASES, place
from tests.benchmarks.prior_art import differences, gradient_term
from tests.structures import CUTOFF, MOLECULES, batch_of
from tests.toy import toy_data, toy_module


def test_one_sided_differences_are_columns_of_a_student_with_a_force_head():
    torch.manual_seed(0)
    student = PaiNN(width=8, layers=2, radial=6, cutoff=CUTOFF).double()
    molecule = MOLECULES[0]
    batch = batch_of(molecule)
    ids = torch.arange(3 * len(molecule))[None]
    rows = predict(student, batch, ids).hessian_rows.permute(1, 0, 2).flatten(1)
    columns = differences(student, batch, ids).hessian_rows.permute(1, 0, 2).flatten(1)
    assert torch.allclose(columns, rows.T, atol=1e-3 * float(rows.detach().abs().max()))
    assert not torch.allclose(columns, rows, atol=1e-2 * float(rows.detach().abs().max()))


def test_the_extra_term_is_five_times_the_error_of_the_energys_gradient(tmp_path, monkeypatch):
    batch = next(iter(toy_data(tmp_path).train_dataloader()))
    module = toy_module(conservative=False)
    monkeypatch.setattr(module, "log_dict", lambda *_, **__: None)
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    without = module.training_step(batch, 0)
    monkeypatch.setattr(type(module), "training_step", type(module).training_step)  # put back after the test
    gradient_term()
    positions = batch.positions.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(module.student(positions, batch).atomic_energies.sum(), positions)
    extra = 5 * (gradient + batch.forces).norm(dim=1).mean()
    assert torch.allclose(module.training_step(batch, 0) - without, extra)


def test_every_case_is_compared_with_an_earlier_one_and_has_its_own_folder(tmp_path):
    names = list(CASES)
    for number, case in enumerate(CASES.values()):
        assert case.against is None or case.against in names[:number]
    assert len({place(tmp_path, name, 0) for name in names}) == len(names)

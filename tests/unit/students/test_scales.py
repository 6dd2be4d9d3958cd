"""Scale factors are fitted before training and belong to the model."""

import pytest
import torch
from ase import Atoms

from jointkd.students.gemnet import GemNet
from jointkd.students.painn import PaiNN
from jointkd.students.scales import Scale, fit_scales
from tests.structures import CUTOFF, ETHANOL, MOLECULES, SALT, batch_of


@pytest.fixture
def student() -> GemNet:
    torch.manual_seed(0)
    return GemNet(width=16, blocks=2, cutoff=CUTOFF).double()


@torch.no_grad()
def features(student: GemNet, batch) -> list[tuple[float, float]]:
    """The mean variance over features of what every scale makes, and of what it refers to."""
    seen = []

    def look(_module, arguments, output):
        seen.append((float(output.var(dim=0).mean()), float(arguments[1].var(dim=0).mean())))

    hooks = [module.register_forward_hook(look) for module in student.modules() if isinstance(module, Scale)]
    student(batch.positions, batch)
    for hook in hooks:
        hook.remove()
    return seen


def test_fitted_factors_give_every_product_and_sum_the_variance_of_its_reference(student):
    batch = batch_of(*MOLECULES)
    before = features(student, batch)
    assert max(abs(made / reference - 1) for made, reference in before) > 0.5
    assert fit_scales(student, [batch]) == len(before) == 2 * 3 + 3 * 2
    for made, reference in features(student, batch):
        assert made == pytest.approx(reference, rel=1e-6)


def test_several_batches_are_averaged_and_fitting_ends(student):
    fit_scales(student, [batch_of(ETHANOL), batch_of(SALT)])
    fitted = {name: buffer.clone() for name, buffer in student.named_buffers() if name.endswith("factor")}
    batch = batch_of(*MOLECULES)
    student(batch.positions, batch)
    for name, factor in fitted.items():
        assert student.get_buffer(name) == factor != 1


def test_structures_that_say_nothing_about_variances_leave_the_factors_at_one(student):
    fit_scales(student, [batch_of(Atoms("H")), batch_of(Atoms("HO", [[0, 0, 0], [0, 0, 30.0]]))])
    assert all(buffer == 1 for name, buffer in student.named_buffers() if name.endswith("factor"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_structures_without_triplets_do_not_count(student, dtype):
    student.to(dtype)
    tilted = Atoms("CO", [[0, 0, 0], [0.3, 0.5, 0.9]])
    fit_scales(student, [batch_of(ETHANOL).to(dtype)])
    fitted = {name: float(buffer) for name, buffer in student.named_buffers() if "scale_sum.factor" in name}
    fit_scales(student, [batch_of(ETHANOL).to(dtype), batch_of(tilted).to(dtype)])
    for name, factor in fitted.items():
        assert float(student.get_buffer(name)) == pytest.approx(factor, rel=0.5)


def test_fitted_factors_travel_with_the_weights(student):
    batch = batch_of(ETHANOL)
    fit_scales(student, [batch])
    copy = GemNet(width=16, blocks=2, cutoff=CUTOFF).double()
    copy.load_state_dict(student.state_dict())
    expected = student(batch.positions, batch)
    assert torch.equal(copy(batch.positions, batch).forces, expected.forces)


def test_a_student_without_scales_is_left_alone():
    assert fit_scales(PaiNN(width=8, layers=1, radial=4), iter(())) == 0

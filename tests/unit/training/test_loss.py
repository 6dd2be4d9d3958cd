"""The joint objective's terms and their sum."""

from dataclasses import replace

import pytest
import torch

from jointkd.errors import ConfigError
from jointkd.structures.batch import MicroBatch, Prediction, collate
from jointkd.students.derivatives import predict
from jointkd.students.painn import PaiNN
from jointkd.training.loss import NORMS, AtomicEnergy, Energy, Forces, Hessian
from jointkd.training.weighted_sum import weighted_sum
from tests.structures import CUTOFF, ETHANOL, WATER, labelled

TERMS = {
    "energy": Energy(5, "mae"),
    "forces": Forces(100, "l2"),
    "atomic_energy": AtomicEnergy(20, "mae"),
    "hessian": Hessian(400, "l2", rows=2),
}


@pytest.fixture
def batch():
    return collate([labelled(ETHANOL, 2, seed=1), labelled(WATER, 2, seed=2)], torch.float64)


@pytest.fixture
def prediction(batch) -> Prediction:
    torch.manual_seed(0)
    return Prediction(
        torch.randn_like(batch.teacher_atomic_energies),
        torch.randn_like(batch.forces),
        torch.randn_like(batch.hessian_rows),
    )


def test_each_term_is_the_mean_in_the_paper(batch, prediction):
    parts = [slice(0, 9), slice(9, 12)]
    expected = {
        "energy": sum(
            abs(float(prediction.atomic_energies[part].sum() - batch.energy[b])) / (part.stop - part.start)
            for b, part in enumerate(parts)
        )
        / 2,
        "forces": float((prediction.forces - batch.forces).square().sum(1).sqrt().mean()),
        "atomic_energy": float((prediction.atomic_energies - batch.teacher_atomic_energies).abs().mean()),
        "hessian": sum(
            float((prediction.hessian_rows - batch.hessian_rows)[part, row].square().sum(1).sqrt().sum()) / 2
            for part in parts
            for row in range(2)
        )
        / 12,
    }
    sums = {name: term(prediction, batch) for name, term in TERMS.items()}
    loss, means = weighted_sum(TERMS, sums)
    for name, value in expected.items():
        assert float(means[name]) == pytest.approx(value, rel=1e-12), name
    weights = {"energy": 5, "forces": 100, "atomic_energy": 20, "hessian": 400}
    assert float(loss) == pytest.approx(sum(weights[name] * value for name, value in expected.items()), rel=1e-12)


def part_of(batch, prediction, index: int):
    """One of the two structures as a micro-batch of the batch."""
    one = [labelled(ETHANOL, 2, seed=1), labelled(WATER, 2, seed=2)][index]
    atoms = slice(0, 9) if index == 0 else slice(9, 12)
    micro = replace(collate([one], torch.float64), whole=MicroBatch(2, batch.num_atoms, parts=2, last=index == 1))
    return micro, Prediction(
        prediction.atomic_energies[atoms], prediction.forces[atoms], prediction.hessian_rows[atoms]
    )


def test_the_micro_batches_of_a_batch_add_up_to_its_loss_and_means(batch, prediction):
    loss, means = weighted_sum(TERMS, {name: term(prediction, batch) for name, term in TERMS.items()}, batch)
    parts = []
    for index in range(2):
        micro, own = part_of(batch, prediction, index)
        parts.append(weighted_sum(TERMS, {name: term(own, micro) for name, term in TERMS.items()}, micro))
    assert float(sum(part[0] for part in parts)) / 2 == pytest.approx(float(loss), rel=1e-12)  # Lightning divides by 2
    for name, mean in means.items():
        assert float(sum(part[1][name] for part in parts)) == pytest.approx(float(mean), rel=1e-12), name


def test_a_term_asks_for_the_labels_that_it_compares_and_no_others():
    asked = {name: (term.teacher, term.atomic, term.rows, term.per_atom) for name, term in TERMS.items()}
    assert asked == {
        "energy": (False, False, 0, False),
        "forces": (False, False, 0, True),
        "atomic_energy": (True, True, 0, True),
        "hessian": (True, False, 2, True),
    }


def test_a_perfect_prediction_has_zero_loss_and_finite_gradients(batch):
    positions = torch.zeros_like(batch.forces, requires_grad=True)
    prediction = Prediction(batch.teacher_atomic_energies, batch.forces + positions, batch.hessian_rows)
    total = TERMS["forces"](prediction, batch).sum
    total.backward()
    assert float(total.detach()) == 0
    assert torch.isfinite(positions.grad).all()


@pytest.mark.parametrize(("name", "expected"), [("mae", 3.5), ("l2", 5.0), ("mse", 12.5), ("huber", 0.03495)])
def test_norms_of_a_vector_are_right(name, expected):
    assert float(NORMS[name](torch.tensor([[3.0, 4.0]]))) == pytest.approx(expected, rel=1e-5)
    rows = torch.tensor([3.0, 4.0]).expand(5, 3, 2)  # atoms, rows, components
    assert torch.allclose(NORMS[name](rows), torch.full((5, 3), expected), rtol=1e-5)


def test_an_unknown_norm_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"norm='l3' is not known; choose one of mae, l2, mse, huber"):
        Energy(1, "l3")


@pytest.mark.parametrize("conservative", [False, True])
def test_gradients_of_the_joint_loss_are_its_central_differences(batch, conservative):
    torch.manual_seed(5)
    student = PaiNN(width=8, layers=2, radial=6, cutoff=CUTOFF, conservative=conservative).double()
    parameters = {name: each for name, each in student.named_parameters() if each.requires_grad}

    def loss() -> torch.Tensor:
        prediction = predict(student, batch, batch.row_ids)
        return weighted_sum(TERMS, {name: term(prediction, batch) for name, term in TERMS.items()})[0]

    loss().backward()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in parameters.items():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        expected = float((parameter.grad * direction).sum())
        step = 1e-6
        with torch.no_grad():
            values = []
            for sign in (1, -1):
                parameter += sign * step * direction
                values.append(float(loss().detach()))
                parameter -= sign * step * direction
        difference = (values[0] - values[1]) / (2 * step)
        assert difference == pytest.approx(expected, rel=1e-5, abs=1e-4), name


def test_a_structure_with_entries_beyond_the_limit_has_almost_no_weight(batch, prediction):
    batch.hessian_rows[3, 1, 2] = -2e4  # of ethanol; water is within the limit
    limited, unlimited = (Hessian(400, "l2", rows=2, limit=limit)(prediction, batch) for limit in (1e4, 3e4))
    norms = (prediction.hessian_rows - batch.hessian_rows).square().sum(-1).sqrt()
    assert float(unlimited.sum) == pytest.approx(float(norms.sum()), rel=1e-12)
    assert float(limited.sum) == pytest.approx(float(1e-8 * norms[:9].sum() + norms[9:].sum()), rel=1e-12)
    assert float(limited.count) == float(unlimited.count) == 24


def test_what_a_teacher_completes_has_its_share_of_the_weight_and_reference_labels_the_whole(batch, prediction):
    completed = replace(batch, from_teacher=torch.tensor([[True, False], [False, True]]))  # of ethanol, and of water
    for term, parts in ((Energy(5, "mae"), ([0], [1])), (Forces(100, "l2"), (range(9, 12), range(9)))):
        whole = term(prediction, batch)
        assert float(term(prediction, completed).sum) == float(whole.sum)
        term.teachers_share = 0.25
        share, norms = term(prediction, completed), term.norms(prediction, batch)
        teachers, reference = (float(norms[list(part)].sum()) for part in parts)
        assert float(share.sum) == pytest.approx(0.25 * teachers + reference, rel=1e-12)
        assert float(share.count) == float(whole.count)
        assert float(term(prediction, batch).sum) == float(whole.sum)
        assert term.current_weight == term.weight


def test_structures_beyond_the_limit_are_counted_in_the_log_ever_more_rarely(batch, prediction, caplog):
    term = Hessian(400, "l2", rows=2, limit=1e4)
    term(prediction, batch)
    assert not caplog.records
    batch.hessian_rows[3, 1, 2] = 2e4
    for _ in range(5):
        term(prediction, batch)
    messages = [record.getMessage() for record in caplog.records]
    assert [int(message.split(": ")[1].split()[0]) for message in messages] == [1, 2, 4]
    assert "hessian.limit=10000" in messages[0]


def test_atoms_on_which_an_ensemble_disagrees_have_less_weight(batch, prediction):
    spread = torch.zeros(batch.num_atoms, dtype=torch.float64)
    batch = replace(batch, teacher_energy_spread=spread)
    plain = AtomicEnergy(20, "mae")(prediction, batch)
    agreed = AtomicEnergy(20, "mae", spread=0.1)(prediction, batch)
    assert agreed == plain
    spread[3:5] = torch.tensor([0.1, 0.3])
    errors = (prediction.atomic_energies - batch.teacher_atomic_energies).abs()
    doubted = AtomicEnergy(20, "mae", spread=0.1)(prediction, batch)
    assert float(plain.sum - doubted.sum) == pytest.approx(float(errors[3] / 2 + 0.9 * errors[4]))
    assert doubted.count == plain.count
    assert AtomicEnergy(20, "mae")(prediction, batch) == plain


@pytest.mark.parametrize("spread", [0.0, -1.0])
def test_a_spread_that_is_not_positive_is_refused(spread):
    with pytest.raises(ConfigError, match=r"atomic_energy\.spread=.* must be a positive number in eV"):
        AtomicEnergy(20, "mae", spread=spread)


@pytest.mark.parametrize("weight", [-5.0, float("nan"), float("inf")])
@pytest.mark.parametrize(("kind", "name"), [(Forces, "forces"), (AtomicEnergy, "atomic_energy")])
def test_a_weight_out_of_range_is_refused_by_the_name_of_its_term(kind, name, weight):
    with pytest.raises(ConfigError, match=rf"method\.terms\.{name}\.weight={weight} must be a number of at least 0"):
        kind(weight, "l2")


@pytest.mark.parametrize(("rows", "limit", "message"), [(0, None, "hessian.rows=0"), (1, -1.0, "hessian.limit=-1.0")])
def test_a_number_of_rows_and_a_limit_are_positive(rows, limit, message):
    with pytest.raises(ConfigError, match=f"{message} must be a positive"):
        Hessian(1.0, "l2", rows=rows, limit=limit)

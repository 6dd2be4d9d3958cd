"""How uncertain a force is: distances of features from those of training, by element, and their way into a file."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from jointkd.errors import DataError
from jointkd.students.student_file import SavedStudent, build, read_student, save_student
from jointkd.students.uncertainty import ForceUncertainty
from tests.structures import ETHANOL, batch_of
from tests.uncertain import features_of
from tests.unit.deploy.test_ase import CONSERVATIVE, FREE, student_file
from tests.unit.deploy.test_evaluator import NAMES, STUDENTS

WIDTH = 3


def training(atoms: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Features with another mean and covariance for each of two elements."""
    rng = np.random.default_rng(0)
    mixes = {1: np.diag([1.0, 2.0, 0.1]), 8: np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])}
    features = [rng.standard_normal((atoms, WIDTH)) @ mix + number for number, mix in mixes.items()]
    return np.concatenate(features), np.repeat([1, 8], atoms)


def test_the_distance_is_that_of_mahalanobis_by_element():
    features, numbers = training()
    uncertainty = ForceUncertainty.of(features, numbers)
    for element in (1, 8):
        own = features[numbers == element]
        apart = np.array([[0.3, -1.0, 2.0]])
        exact = np.sqrt(apart @ np.linalg.inv(np.cov(own.T, bias=True)) @ apart.T).item()
        found = uncertainty.distances(own.mean(0) + apart, np.array([element])).item()
        assert found == pytest.approx(exact, rel=0.05)  # F of 4000 atoms have the covariance of all
        assert np.mean(uncertainty.distances(own, np.full(len(own), element)) ** 2) == pytest.approx(WIDTH, rel=0.03)
    assert uncertainty.distances(features[:1] + 100, numbers[:1]) > 100 / 3


def test_an_element_with_one_atom_has_the_covariance_of_all_and_one_with_none_is_infinitely_far():
    features, numbers = training()
    alone = np.array([[5.0, 5.0, 5.0]])
    uncertainty = ForceUncertainty.of(np.concatenate([features, alone]), np.append(numbers, 17))
    step = np.array([[0.5, 0.0, 0.0]])
    near, far = (uncertainty.distances(alone + by, np.array([17])).item() for by in (step, 4 * step))
    assert near > 0
    assert far == pytest.approx(4 * near)
    assert np.isinf(uncertainty(features[:1], np.array([35]))).all()


def test_features_that_never_vary_have_an_inverse_and_any_change_of_them_is_far():
    features = np.zeros((10, WIDTH))
    features[:, 0] = np.arange(10)
    uncertainty = ForceUncertainty.of(features, np.ones(10, dtype=int))
    same, other = (features[:1] + np.eye(WIDTH)[axis] for axis in (0, 1))
    assert uncertainty.distances(same, np.array([1])) < 10 < 100 < uncertainty.distances(other, np.array([1]))


@pytest.mark.parametrize("config", STUDENTS, ids=NAMES)
def test_features_are_those_of_surroundings(tmp_path, config):
    file, atoms = student_file(tmp_path, config), ETHANOL.copy()
    first = features_of(file, atoms)
    assert first.shape[0] == len(atoms)
    atoms.rotate(40, (1, 2, 3))
    np.testing.assert_allclose(features_of(file, atoms), first, atol=1e-10)
    atoms.rattle(0.05, seed=0)
    assert np.abs(features_of(file, atoms) - first).max() > 1e-4


@pytest.mark.parametrize(
    ("dtype", "dependent", "tolerance"),
    [
        (torch.float64, False, 1e-12),
        (torch.float64, True, 1e-6),
        (torch.float32, False, 1e-5),
        (torch.float32, True, 1e-3),  # where the quadratic form itself is negative for some
    ],
)
def test_in_torch_it_is_the_same_to_rounding(dtype, dependent, tolerance):
    features, numbers = training()
    if dependent:
        features = np.append(features, features[:, 1:2] + 1e-3 * features[:, :1], axis=1)
    uncertainty = replace(ForceUncertainty.of(features, numbers), scale=0.3)
    assert (np.linalg.cond(uncertainty.precision) > 1e9).all() == dependent
    given = torch.from_numpy(np.concatenate([features, features[:9] + 5])).to(dtype)
    kinds = np.append(numbers, [1, 8, 35, 1, 8, 118, 2, 8, 1])
    found = uncertainty.on("cpu", dtype)(given, torch.from_numpy(kinds)).numpy()
    expected = uncertainty(given.double().numpy(), kinds)
    assert found.dtype == given.numpy().dtype
    np.testing.assert_allclose(found, expected, rtol=tolerance)
    assert np.isinf(found).sum() == 3


def test_in_torch_an_atom_without_a_number_does_not_disturb_the_others():
    features, numbers = training(50)
    traceable = ForceUncertainty.of(features, numbers).on("cpu", torch.float64)
    before = traceable(torch.from_numpy(features), torch.from_numpy(numbers))
    features[3] = np.nan
    after = traceable(torch.from_numpy(features), torch.from_numpy(numbers))
    assert after.isnan().nonzero().tolist() == [[3]]
    others = np.arange(len(numbers)) != 3
    torch.testing.assert_close(after[others], before[others], rtol=0, atol=0)


def saved_with(uncertainty: ForceUncertainty | None) -> SavedStudent:
    config = CONSERVATIVE[0]
    return SavedStudent(config, build(config, torch.float64).state_dict(), FREE, {}, (), uncertainty)


def test_it_is_kept_in_a_students_file_beside_its_weights(tmp_path):
    features, numbers = training(50)
    uncertainty = replace(ForceUncertainty.of(features, numbers), scale=0.07)
    save_student(tmp_path / "with.safetensors", saved_with(uncertainty))
    save_student(tmp_path / "without.safetensors", saved_with(None))
    saved = read_student(tmp_path / "with.safetensors")
    np.testing.assert_array_equal(saved.uncertainty(features, numbers), uncertainty(features, numbers))
    assert saved.uncertainty.scale == 0.07
    without = read_student(tmp_path / "without.safetensors")
    assert without.uncertainty is None
    assert without.weights.keys() == saved.weights.keys()


def test_a_file_with_a_part_of_it_is_refused(tmp_path):
    features, numbers = training(50)
    file = tmp_path / "student.safetensors"
    save_student(file, saved_with(ForceUncertainty.of(features, numbers)))
    tensors = load_file(file)
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    for changed in (
        {name: value for name, value in tensors.items() if name != "force_uncertainty.mean"},
        {**tensors, "force_uncertainty.precision": torch.zeros(2, 3, 4)},
        {**tensors, "force_uncertainty.precision": torch.full((2, 3, 3), torch.inf)},
    ):
        save_file(changed, file, metadata)
        with pytest.raises(DataError, match="is not a student file"):
            read_student(file)


@pytest.mark.parametrize("config", STUDENTS, ids=NAMES)
def test_the_last_linear_layer_reads_energies_from_features(config):
    """A change of that layer's weights changes energies by its product with the features."""
    torch.manual_seed(0)
    student = build(config, torch.float64).requires_grad_(False)
    for parameter in student.parameters():  # output layers are initialised to zero
        torch.nn.init.normal_(parameter, std=0.3)
    painn = "painn" in config["_target_"]
    last = student.energy_head[-1] if painn else student.outputs[-1].energy
    inputs = batch_of(ETHANOL, cutoff=student.cutoff)
    before = student(inputs.positions, inputs)
    change = torch.linspace(-1, 1, last.weight.shape[1], dtype=torch.float64)[None]
    alone = student.isolated_energies() if painn and student.smooth else None
    last.weight += change
    after = student(inputs.positions, inputs)
    expected = (before.features @ change.T)[:, 0]
    if alone is not None:
        expected = expected - (student.isolated_energies() - alone)[inputs.atomic_numbers - 1]
    torch.testing.assert_close(after.atomic_energies - before.atomic_energies, expected, atol=1e-10, rtol=0)

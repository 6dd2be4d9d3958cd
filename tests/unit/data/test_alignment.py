"""The alignment of a teacher's energies with the energy zero of the data."""

from dataclasses import replace

import numpy as np
import pytest

from jointkd.data.alignment import align, prior_shifts
from jointkd.data.references import References
from jointkd.labels.records import TeacherLabels
from jointkd.structures.frame import Frame
from tests.files import FREE, frames
from tests.toy import toy_data


def sums(energies: dict[int, float], frame: Frame) -> float:
    return sum(energies[int(z)] for z in frame.numbers)


def energies_in(labels: dict[str, TeacherLabels]):
    """What a label store gives of each structure."""
    return lambda key: (labels[key].energy, labels[key].atomic_energies)


def labels_of(some: list[Frame], free: dict[int, float], shift: dict[int, float]) -> dict[str, TeacherLabels]:
    """A teacher whose totals are the references plus a shift per element, divided randomly among the atoms."""
    rng = np.random.default_rng(0)
    labels = {}
    for frame in some:
        total = frame.energy + sums(shift, frame)
        atomic = rng.normal(size=len(frame))
        atomic += (total - sums(free, frame) - atomic.sum()) / len(frame)
        labels[frame.key] = TeacherLabels(total, atomic, frame.forces, np.zeros((0, len(frame), 3)), np.zeros(0, int))
    return labels


@pytest.mark.parametrize("shift", [dict.fromkeys(FREE, 0.0), {1: 0.7, 6: -31.0, 8: 4.4}])
@pytest.mark.parametrize("free", [dict.fromkeys(FREE, 0.0), {1: -12.1, 6: -900.0, 8: 77.0}])
def test_aligned_targets_sum_to_the_reference_totals_for_any_energy_zero_of_the_teacher(shift, free):
    some = frames(12)
    labels = labels_of(some, free, shift)
    references = References(FREE, "test")
    alignment = align(some, energies_in(labels), references)
    assert alignment.residual_after == pytest.approx(0, abs=1e-9)
    assert alignment.shift == pytest.approx({z: shift[z] + FREE[z] - free[z] for z in FREE}, abs=1e-6)
    for frame in some:
        target = alignment.targets(frame, labels[frame.key]).sum()
        assert target == pytest.approx(frame.energy - sums(FREE, frame), abs=1e-9)


def test_large_structures_weigh_as_much_as_small_ones_and_residuals_are_per_atom():
    chains = [Frame(np.ones(n, dtype=int), np.eye(3)[:1] * np.arange(n)[:, None], energy=FREE[1] * n) for n in (2, 8)]
    excess = {frame.key: per_atom for frame, per_atom in zip(chains, (1.0, 2.0), strict=True)}  # eV/atom
    labels = {
        frame.key: TeacherLabels(
            frame.energy + excess[frame.key] * len(frame), np.full(len(frame), excess[frame.key]),
            np.zeros((len(frame), 3)), np.zeros((0, len(frame), 3)), np.zeros(0, int),
        )
        for frame in chains
    }  # fmt: skip
    alignment = align(chains, energies_in(labels), References(FREE, "test"))
    assert alignment.shift == pytest.approx({1: 1.5})
    assert alignment.residual_before == pytest.approx(np.sqrt((1 + 4) / 2))
    assert alignment.residual_after == pytest.approx(0.5)


def test_the_free_atoms_of_the_teacher_do_not_change_the_targets():
    some = frames(12)
    targets = []
    for free in (FREE, {1: 5.0, 6: -7.0, 8: 11.0}):
        labels = labels_of(some, FREE, {1: 0.1, 6: 0.2, 8: 0.3})
        moved = {
            key: replace(label, atomic_energies=label.atomic_energies + [FREE[z] - free[z] for z in frame.numbers])
            for frame in some
            for key, label in [(frame.key, labels[frame.key])]
        }
        alignment = align(some, energies_in(moved), References(FREE, "test"))
        targets.append(np.concatenate([alignment.targets(frame, moved[frame.key]) for frame in some]))
    np.testing.assert_allclose(targets[0], targets[1], atol=1e-9)


def test_the_shift_of_one_composition_is_the_smallest_that_fits():
    waters = [frame for frame in frames(12) if len(frame) == 3]
    alignment = align(waters, energies_in(labels_of(waters, FREE, {1: 0.0, 8: 3.0})), References(FREE, "test"))
    assert alignment.shift == pytest.approx({1: 3.0 * 2 / 5, 8: 3.0 / 5})
    assert "do not determine the shifts of H, O, so the smallest ones were taken" in str(alignment)


def test_atomic_energies_that_contain_those_of_unknown_free_atoms_become_targets_of_the_size_of_bonds():
    waters = [frame for frame in frames(12) if len(frame) == 3]
    labels = labels_of(waters, dict.fromkeys(FREE, 0.0), {1: 0.0, 8: 0.0})
    for key, label in labels.items():  # -13 eV on hydrogen, -2040 eV on oxygen
        own = np.array([FREE[int(z)] for z in next(frame for frame in waters if frame.key == key).numbers])
        labels[key] = replace(label, atomic_energies=own + (label.energy - own.sum()) / 3)
    alignment = align(waters, energies_in(labels), References(FREE, "test"))
    targets = np.concatenate([alignment.targets(frame, labels[frame.key]) for frame in waters])
    assert np.abs(targets).max() < 30.0
    assert alignment.residual_after < 1e-9
    assert "the mean atomic energies of all elements were made equal" in str(alignment)


@pytest.mark.parametrize(("energy", "shift"), [(-29.0, 0.0), (-31.0, -27.0)])
def test_mean_atomic_energies_of_more_than_thirty_electronvolts_are_not_those_of_bonds(energy, shift):
    assert prior_shifts({1: energy, 8: -5.0}, mean=-4.0)[1][1] == shift


def test_a_data_set_is_aligned_on_its_training_split_alone(tmp_path):
    data = toy_data(tmp_path)
    energies = data.teacher["train"].store.energies
    train, test = data.frames["train"], data.frames["test"]
    expected, with_test = (align(part, energies, data.references) for part in (train, [*train, *test]))
    for split in ("train", "test"):
        assert data.teacher[split].alignment == expected != with_test

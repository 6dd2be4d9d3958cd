"""Reference energies, and the alignment of a teacher's energy zero with that of the data."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from jointkd.data.datamodule import DistillationData
from jointkd.data.options import ReaderData
from jointkd.data.references import References, align, least_squares
from jointkd.data.splits import Split
from jointkd.errors import ConfigError, DataError
from jointkd.labels.records import TeacherLabels
from jointkd.structures.frame import Frame
from tests.files import FREE, frames


def sums(energies: dict[int, float], frame: Frame) -> float:
    return sum(energies[int(z)] for z in frame.numbers)


def additive(count: int, energies: dict[int, float]) -> list[Frame]:
    return [replace(frame, energy=sums(energies, frame)) for frame in frames(count)]


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


def test_least_squares_recovers_the_energies_of_the_elements():
    references = least_squares(additive(9, FREE))
    assert references.energies == pytest.approx(FREE, abs=1e-6)
    assert "least squares" in references.origin


def test_undetermined_references_are_the_smallest_with_exact_totals():
    waters = [frame for frame in additive(12, FREE) if len(frame) == 3]
    references = least_squares(waters)
    total = 2 * FREE[1] + FREE[8]
    assert references.of(waters[0].numbers).sum() == pytest.approx(total, abs=1e-8)
    assert references.energies == pytest.approx({1: total * 2 / 5, 8: total / 5})  # along the composition (2, 1)


def data(some: list[Frame], isolated: dict[int, float] | None = None, energies=None) -> DistillationData:
    return DistillationData(
        ReaderData(name="some", read=lambda: (some, isolated or {}), split=Split(), reference_energies=energies)
    )


def references_of(module: DistillationData) -> References:
    module.prepare_neighbors(5.0, torch.float32)
    module.fit_references()
    return module.references


def test_isolated_atoms_of_the_file_are_preferred_to_a_fit():
    free = {z: energy + 1 for z, energy in FREE.items()}
    references = references_of(data(additive(30, FREE), free))
    assert references.energies == free
    assert references.origin == "isolated atoms of the data"


def test_references_are_fitted_on_request_or_if_an_isolated_atom_is_missing():
    for isolated, chosen in ((FREE, "fit"), ({1: -13.0, 6: -1030.0}, None)):
        references = references_of(data(additive(30, FREE), isolated, chosen))
        assert references.origin == "least squares on the training split"


def test_energies_in_the_options_override_all_others():
    energies = {"H": -1, "C": -2.0, "O": -3.0}
    references = references_of(data(additive(30, FREE), FREE, energies))
    assert references.energies == {1: -1.0, 6: -2.0, 8: -3.0}


@pytest.mark.parametrize(
    ("energies", "error", "message"),
    [
        ({"H": -1.0, "C": -2.0}, DataError, "no reference energy for atomic number 8 .data.reference_energies."),
        (
            {"H": -1.0, "Qq": -2.0},
            ConfigError,
            "has Qq: -2.0, which must be an energy by chemical symbol; give eV",
        ),
        ({"H": "low"}, ConfigError, "data.reference_energies has H: low, which must be an energy"),
        ("lowest", ConfigError, "data.reference_energies=lowest must be fit or energies by element; give fit"),
    ],
)
def test_invalid_references_are_refused(energies, error, message):
    with pytest.raises(error, match=message):
        references_of(data(additive(30, FREE), energies=energies))


def test_an_element_that_only_the_test_split_has_is_refused_before_training():
    module = data(additive(30, FREE))
    odd = module.frames["test"][0]
    module.frames["test"] = [replace(odd, numbers=np.full(len(odd), 7))]
    with pytest.raises(DataError, match=r"atomic number 7"):
        references_of(module)


@pytest.mark.parametrize("missing", ["energy", "forces"])
def test_structures_without_labels_are_refused(missing):
    some = [replace(frame, **{missing: None}) for frame in frames(30)]
    with pytest.raises(DataError, match=r"no reference energies and forces; .* data.reference=teacher"):
        references_of(data(some))


@pytest.mark.parametrize("shift", [dict.fromkeys(FREE, 0.0), {1: 0.7, 6: -31.0, 8: 4.4}])
@pytest.mark.parametrize("free", [dict.fromkeys(FREE, 0.0), {1: -12.1, 6: -900.0, 8: 77.0}])
def test_aligned_targets_sum_to_the_reference_totals_for_any_energy_zero_of_the_teacher(shift, free):
    some = frames(12)
    labels = labels_of(some, free, shift)
    references = References(FREE, "test")
    alignment = align(some, labels, references)
    assert alignment.residual_after == pytest.approx(0, abs=1e-9)
    assert alignment.shift == pytest.approx({z: shift[z] + FREE[z] - free[z] for z in FREE}, abs=1e-6)
    for frame in some:
        target = alignment.targets(frame, labels[frame.key]).sum()
        assert target == pytest.approx(frame.energy - sums(FREE, frame), abs=1e-9)


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
        alignment = align(some, moved, References(FREE, "test"))
        targets.append(np.concatenate([alignment.targets(frame, moved[frame.key]) for frame in some]))
    np.testing.assert_allclose(targets[0], targets[1], atol=1e-9)


def test_the_shift_of_one_composition_is_the_smallest_that_fits():
    waters = [frame for frame in frames(12) if len(frame) == 3]
    alignment = align(waters, labels_of(waters, FREE, {1: 0.0, 8: 3.0}), References(FREE, "test"))
    assert alignment.shift == pytest.approx({1: 3.0 * 2 / 5, 8: 3.0 / 5})
    assert "the compositions do not determine these shifts, so the smallest ones were taken" in str(alignment)
    determined = align(frames(12), labels_of(frames(12), FREE, {1: 0.0, 6: 0.0, 8: 3.0}), References(FREE, "test"))
    assert "smallest" not in str(determined)
    assert alignment.residual_after == pytest.approx(0, abs=1e-9)


def test_with_one_composition_targets_stay_small_at_any_level_of_theory_of_the_teacher():
    waters = [replace(frame, energy=frame.energy - 3.0) for frame in additive(12, FREE) if len(frame) == 3]
    free = {1: -900.0, 8: 40_000.0}  # of the teacher
    labels = labels_of(waters, free, {z: free[z] - FREE[z] for z in free})
    targets = np.concatenate([align(waters, labels, least_squares(waters)).targets(f, labels[f.key]) for f in waters])
    assert np.abs(targets).max() < 10


def test_an_error_of_the_teacher_remains_and_both_residuals_are_printed():
    some = frames(12)
    labels = labels_of(some, FREE, {1: 1.0, 6: 1.0, 8: 1.0})
    key = some[0].key
    wrong = labels[key].atomic_energies + 0.3 / len(some[0])
    labels[key] = replace(labels[key], energy=labels[key].energy + 0.3, atomic_energies=wrong)
    alignment = align(some, labels, References(FREE, "test"))
    assert alignment.residual_before > 1
    assert 0.001 < alignment.residual_after < 0.1
    assert f"{1e3 * alignment.residual_before:.2f} → {1e3 * alignment.residual_after:.2f} meV/atom" in str(alignment)
    assert "shift in eV per atom: H +" in str(alignment)


def test_elements_in_a_fixed_ratio_keep_targets_that_sum_to_the_totals():
    """Carbon and fluorine occur only as CF4, so their shifts are not determined separately."""
    some = [frame for frame in frames(12) if len(frame) in (3, 5)]
    fixed = [
        replace(frame, numbers=np.where(frame.numbers == 1, 9, frame.numbers)) for frame in some if len(frame) == 5
    ]
    mixed = [*fixed, *(frame for frame in some if len(frame) == 3)]
    free = {**FREE, 9: -2700.0}
    labels = labels_of(mixed, free, {1: 0.5, 6: -7.0, 8: 2.0, 9: 3.0})
    alignment = align(mixed, labels, References(free, "test"))
    assert alignment.open
    for frame in mixed:
        target = alignment.targets(frame, labels[frame.key]).sum()
        assert target == pytest.approx(frame.energy - sums(free, frame), abs=1e-8)


def test_corrections_per_element_of_the_reference_totals_are_removed_by_the_shift():
    """As between corrected and raw totals of the Materials Project, where anions are corrected."""
    some = frames(12)
    labels = labels_of(some, FREE, dict.fromkeys(FREE, 0.0))
    corrected = [replace(frame, energy=frame.energy - 0.687 * np.count_nonzero(frame.numbers == 8)) for frame in some]
    alignment = align(corrected, labels, References(FREE, "test"))
    assert alignment.shift == pytest.approx({1: 0.0, 6: 0.0, 8: 0.687}, abs=1e-6)
    assert alignment.residual_after == pytest.approx(0, abs=1e-9)


def test_an_element_that_training_lacks_is_not_shifted_and_is_listed():
    alignment = align(frames(12), labels_of(frames(12), FREE, {1: 1.0, 6: 1.0, 8: 1.0}), References(FREE, "test"))
    (odd,) = frames(1)
    odd = replace(odd, numbers=np.full(len(odd), 7))
    label = labels_of([odd], {7: 0.0}, {7: 0.0})[odd.key]
    np.testing.assert_array_equal(alignment.targets(odd, label), label.atomic_energies)
    assert alignment.without([odd]) == [7]
    assert alignment.without(frames(3)) == []

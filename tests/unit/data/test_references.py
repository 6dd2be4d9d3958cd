"""Reference energies and the alignment of a teacher's zero with the data's."""

from dataclasses import replace

import numpy as np
import pytest

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
    """A teacher whose totals are the references plus a shift per element, parted among atoms at random."""
    rng = np.random.default_rng(0)
    made = {}
    for frame in some:
        total = frame.energy + sums(shift, frame)
        atomic = rng.normal(size=len(frame))
        atomic += (total - sums(free, frame) - atomic.sum()) / len(frame)
        made[frame.key] = TeacherLabels(total, atomic, frame.forces, np.zeros((0, len(frame), 3)), np.zeros(0, int))
    return made


def test_least_squares_recovers_the_energies_of_the_elements():
    found = least_squares(additive(9, FREE))
    assert found.energies == pytest.approx(FREE, abs=1e-6)
    assert "least squares" in found.origin


def test_compositions_that_do_not_tell_elements_apart_get_the_smallest_references_with_exact_totals():
    waters = [frame for frame in additive(12, FREE) if len(frame) == 3]
    found = least_squares(waters)
    total = 2 * FREE[1] + FREE[8]
    assert found.of(waters[0].numbers).sum() == pytest.approx(total, abs=1e-8)
    assert found.energies == pytest.approx({1: total * 2 / 5, 8: total / 5})  # along the composition (2, 1)


def data(some: list[Frame], isolated: dict[int, float] | None = None, energies=None) -> DistillationData:
    made = DistillationData(
        ReaderData(name="some", read=lambda: (some, isolated or {}), split=Split(), reference_energies=energies)
    )
    return made


def prepared(made: DistillationData, tmp_path) -> References:
    import torch

    made.prepare_neighbors(5.0, torch.float32)
    made.fit_references()
    return made.references


def test_isolated_atoms_of_the_file_are_preferred_to_a_fit(tmp_path):
    free = {z: energy + 1 for z, energy in FREE.items()}
    found = prepared(data(additive(30, FREE), free), tmp_path)
    assert found.energies == free
    assert found.origin == "isolated atoms of the data"


def test_a_fit_can_be_asked_for_and_is_taken_where_an_isolated_atom_is_missing(tmp_path):
    for isolated, chosen in ((FREE, "fit"), ({1: -13.0, 6: -1030.0}, None)):
        found = prepared(data(additive(30, FREE), isolated, chosen), tmp_path)
        assert found.origin == "least squares on the training split"


def test_given_energies_are_taken_before_all_others(tmp_path):
    given = {"H": -1, "C": -2.0, "O": -3.0}
    found = prepared(data(additive(30, FREE), FREE, given), tmp_path)
    assert found.energies == {1: -1.0, 6: -2.0, 8: -3.0}


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"H": -1.0, "C": -2.0}, DataError, "no reference energy for atomic number 8 .data.reference_energies."),
        ({"H": -1.0, "Qq": -2.0}, ConfigError, "data.reference_energies has Qq: -2.0"),
        ({"H": "low"}, ConfigError, "data.reference_energies has H: low"),
        ("lowest", ConfigError, "data.reference_energies=lowest; give fit"),
    ],
)
def test_references_that_cannot_be_used_are_refused(tmp_path, given, error, said):
    with pytest.raises(error, match=said):
        prepared(data(additive(30, FREE), energies=given), tmp_path)


def test_an_element_that_only_the_test_split_has_is_refused_before_training(tmp_path):
    some = additive(30, FREE)
    made = data(some)
    odd = made.frames["test"][0]
    made.frames["test"] = [replace(odd, numbers=np.full(len(odd), 7))]
    with pytest.raises(DataError, match=r"atomic number 7"):
        prepared(made, tmp_path)


@pytest.mark.parametrize("missing", ["energy", "forces"])
def test_structures_without_labels_are_refused(tmp_path, missing):
    some = [replace(frame, **{missing: None}) for frame in frames(30)]
    with pytest.raises(DataError, match=r"no reference energies and forces; .* data.reference=teacher"):
        prepared(data(some), tmp_path)


@pytest.mark.parametrize("shift", [dict.fromkeys(FREE, 0.0), {1: 0.7, 6: -31.0, 8: 4.4}])
@pytest.mark.parametrize("free", [dict.fromkeys(FREE, 0.0), {1: -12.1, 6: -900.0, 8: 77.0}])
def test_aligned_targets_sum_to_the_reference_totals_whatever_the_zero_of_the_teacher(shift, free):
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
    assert "compositions do not tell these elements apart, so the smallest shifts were taken" in str(alignment)
    told_apart = align(frames(12), labels_of(frames(12), FREE, {1: 0.0, 6: 0.0, 8: 3.0}), References(FREE, "test"))
    assert "smallest" not in str(told_apart)
    assert alignment.residual_after == pytest.approx(0, abs=1e-9)


def test_another_level_of_theory_with_one_composition_leaves_targets_of_the_size_of_chemistry():
    waters = [replace(frame, energy=frame.energy - 3.0) for frame in additive(12, FREE) if len(frame) == 3]
    elsewhere = {1: -900.0, 8: 40_000.0}  # the teacher's own free atoms
    labels = labels_of(waters, elsewhere, {z: elsewhere[z] - FREE[z] for z in elsewhere})
    targets = np.concatenate([align(waters, labels, least_squares(waters)).targets(f, labels[f.key]) for f in waters])
    assert np.abs(targets).max() < 10


def test_an_error_of_the_teacher_stays_and_both_residuals_are_printed():
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


def test_elements_in_one_ratio_keep_targets_that_sum_to_the_totals():
    """Methane of two sizes and water apart: carbon and hydrogen always come as one to four."""
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


def test_corrections_per_element_of_the_reference_totals_are_shifted_away():
    """As between corrected and raw totals of the Materials Project, where anions are corrected."""
    some = frames(12)
    labels = labels_of(some, FREE, dict.fromkeys(FREE, 0.0))
    corrected = [replace(frame, energy=frame.energy - 0.687 * np.count_nonzero(frame.numbers == 8)) for frame in some]
    alignment = align(corrected, labels, References(FREE, "test"))
    assert alignment.shift == pytest.approx({1: 0.0, 6: 0.0, 8: 0.687}, abs=1e-6)
    assert alignment.residual_after == pytest.approx(0, abs=1e-9)


def test_an_element_that_training_lacks_is_not_shifted_and_can_be_told_of():
    alignment = align(frames(12), labels_of(frames(12), FREE, {1: 1.0, 6: 1.0, 8: 1.0}), References(FREE, "test"))
    (odd,) = frames(1)
    odd = replace(odd, numbers=np.full(len(odd), 7))
    label = labels_of([odd], {7: 0.0}, {7: 0.0})[odd.key]
    np.testing.assert_array_equal(alignment.targets(odd, label), label.atomic_energies)
    assert alignment.without([odd]) == [7]
    assert alignment.without(frames(3)) == []

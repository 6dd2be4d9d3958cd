"""Errors of predictions against plain numpy."""

from dataclasses import replace

import numpy as np
import pytest

from jointkd.evaluation.against_teacher import METRICS, TeacherSums
from jointkd.evaluation.errors import HEADLINE, Errors
from jointkd.evaluation.hull import METRICS as OF_HULL
from jointkd.evaluation.predictions import Predicted
from tests.files import frames

OF_MOLECULES = [name for name in HEADLINE if "stress" not in name and name not in (*METRICS, *OF_HULL)]

COUNT = 20


def predicted(count: int = COUNT, seed: int = 1) -> list[Predicted]:
    """Structures of three compositions and two kinds, with predictions that are off at random."""
    rng = np.random.default_rng(seed)
    return [
        Predicted(
            replace(frame, info={"config_type": "cold" if number < 8 else "hot"}),
            frame.energy + rng.normal(0.3, 0.2),
            np.zeros(len(frame)),
            frame.forces + rng.normal(scale=0.3, size=(len(frame), 3)),
        )
        for number, frame in enumerate(frames(count))
    ]


def collected(some: list[Predicted]) -> Errors:
    errors = Errors()
    for each in some:
        errors.add(each)
    return errors


def by_numpy(some: list[Predicted], everything: list[Predicted]) -> dict[str, float]:
    """The metrics of some structures, by their definitions; constants per composition are those of everything."""
    energy = np.array([1e3 * (each.energy - each.frame.energy) for each in some])
    mean = {
        name: np.mean([1e3 * (each.energy - each.frame.energy) for each in everything if each.frame.group == name])
        for name in {each.frame.group for each in everything}
    }
    relative = energy - np.array([mean[each.frame.group] for each in some])
    atoms = np.array([len(each.frame) for each in some])
    values = []
    for errors in (energy, relative):
        for scaled in (errors / atoms, errors):
            values += [np.abs(scaled).mean(), np.sqrt((scaled**2).mean())]
    ours, theirs = (np.concatenate(each) for each in zip(*((p.forces, p.frame.forces) for p in some), strict=True))
    force = 1e3 * (ours - theirs)
    cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    values += [np.abs(force).mean(), np.sqrt((force**2).mean()), cosine.mean()]
    return dict(zip(OF_MOLECULES, values, strict=True))


def test_quarters_of_structures_that_are_equally_far_are_one_and_new_elements_are_apart():
    errors = Errors()
    for distance, one in zip([0.0, 0.0, 0.0, 2.0, np.inf], predicted(5), strict=True):
        errors.add(replace(one, training_distance=distance))
    found = errors.by_training_distance()
    assert {name: rows["structures"] for name, rows in found.items()} == {
        "0.00 to 0.00": 3,
        "2.00 to 2.00": 1,
        "elements not in it": 1,
    }
    assert Errors().by_training_distance() == {}


def test_metrics_over_all_structures_are_those_of_numpy():
    some = predicted()
    assert collected(some).metrics() == pytest.approx(by_numpy(some, some))


def test_metrics_of_a_kind_of_structures_are_those_of_its_structures():
    some = predicted()
    errors = collected(some)
    by_type = errors.by("config_type")
    for name, members in (("cold", some[:8]), ("hot", some[8:])):
        assert by_type[name] == pytest.approx({"structures": len(members), **by_numpy(members, some)})
    assert {name: row["structures"] for name, row in errors.by("group").items()} == {"H2O": 7, "CH3OH": 7, "CH4": 6}


def test_errors_of_forces_by_element_are_those_of_its_atoms():
    some = predicted()
    rows = collected(some).by_element()
    numbers = np.concatenate([each.frame.numbers for each in some])
    error = 1e3 * np.concatenate([each.forces - each.frame.forces for each in some])
    assert list(rows) == ["H", "C", "O"]
    for name, z in (("H", 1), ("C", 6), ("O", 8)):
        assert rows[name]["atoms"] == (numbers == z).sum()
        assert rows[name]["force_mae_meV_per_A"] == pytest.approx(np.abs(error[numbers == z]).mean())
        assert rows[name]["force_rmse_meV_per_A"] == pytest.approx(np.sqrt((error[numbers == z] ** 2).mean()))


def test_a_composition_that_occurs_once_has_no_relative_energy():
    errors = collected(predicted(4))
    assert errors.counts()["structures_with_relative_energy"] == 2
    assert errors.metrics()["relative_energy_mae_meV"] > 0
    assert not any(name.startswith("relative") for name in collected(predicted(3)).metrics())


def test_the_direction_of_a_reference_force_that_is_noise_does_not_count():
    (each,) = predicted(1)
    forces = each.frame.forces.copy()
    forces[0] = 1e-6
    metrics = collected([replace(each, frame=replace(each.frame, forces=forces), forces=2 * forces)]).metrics()
    assert metrics["force_cosine"] == pytest.approx(1)
    still = replace(each.frame, forces=0 * forces)
    assert "force_cosine" not in collected([replace(each, frame=still)]).metrics()


@pytest.mark.parametrize("label", ["energy", "forces"])
def test_structures_without_a_label_count_for_the_other_one(label):
    some = predicted()
    half = [replace(each, frame=replace(each.frame, **{label: None})) for each in some[:10]] + some[10:]
    all_of_other = {name for name in OF_MOLECULES if name.startswith("force") == (label == "energy")}
    metrics, whole = collected(half).metrics(), by_numpy(some, some)
    assert {name: metrics[name] for name in all_of_other} == pytest.approx({name: whole[name] for name in all_of_other})
    counts = collected(half).counts()
    assert (counts["structures_with_energy"], counts["structures_with_forces"]) == (
        (10, 20) if label == "energy" else (20, 10)
    )


def test_errors_against_a_teacher_are_means_over_atoms_and_over_entries_of_rows():
    errors = Errors()
    sums = [TeacherSums(30.0, 3, 0.9, 18), TeacherSums(10.0, 5, 0.3, 30), TeacherSums()]
    for each, of_teacher in zip(predicted(3), sums, strict=True):
        errors.add(each, of_teacher)
    metrics = errors.metrics()
    assert metrics["atomic_energy_mae_meV"] == pytest.approx(40 / 8)
    assert metrics["hessian_row_mae_eV_per_A2"] == pytest.approx(1.2 / 48)
    low, high = errors.intervals(errors.replicates(0))["atomic_energy_mae_meV"]
    assert (low, high) == pytest.approx((2, 10))


def test_without_labels_or_structures_there_are_no_metrics():
    bare = [replace(each, frame=replace(each.frame, energy=None, forces=None)) for each in predicted(3)]
    for errors in (collected(bare), Errors()):
        assert errors.metrics() == errors.intervals(errors.replicates(0)) == errors.by_element() == {}
    assert Errors().counts()["structures"] == 0


def test_intervals_follow_from_the_seed_and_hold_the_metrics():
    errors = collected(predicted())
    intervals = errors.intervals(errors.replicates(3))
    assert intervals == errors.intervals(errors.replicates(3)) != errors.intervals(errors.replicates(4))
    assert all(intervals[name][0] < value < intervals[name][1] for name, value in errors.metrics().items())


def test_the_interval_of_a_mean_over_structures_is_about_two_standard_errors_wide():
    some = predicted(200)
    errors = collected(some)
    low, high = errors.intervals(errors.replicates(0))["energy_mae_meV"]
    errors = np.abs([1e3 * (each.energy - each.frame.energy) for each in some])
    assert high - low == pytest.approx(2 * 1.96 * errors.std() / np.sqrt(200), rel=0.1)


def test_one_structure_has_no_interval():
    single = collected(predicted(1))
    assert single.replicates(0) == []
    assert single.intervals([]) == {}

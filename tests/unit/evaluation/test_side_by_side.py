"""Several force fields on the same file: what is compared, and whether a difference is more than chance."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from jointkd.data.screening import Rejected
from jointkd.errors import DataError
from jointkd.evaluation.file_evaluation import FileEvaluation, evaluate_file
from jointkd.evaluation.predictions import Predicted, Predictor
from jointkd.evaluation.side_by_side import compare_on_file
from jointkd.evaluation.teacher_predictions import TeacherPredictor
from tests.files import isolated, molecules, saved
from tests.teachers import NumberTeacher

LABELS = {"energy_key": "REF_energy", "forces_key": "REF_forces"}


@pytest.fixture
def file(tmp_path):
    return saved(tmp_path / "some.xyz", [*isolated(), *molecules(30)])


def options_of(file, run="a student") -> FileEvaluation:
    return FileEvaluation(run=str(run), structures=str(file), **LABELS)


def off_by(force: float, noise: float = 0.0, refuses: str = ""):
    """A force field whose force components are off by `force` (eV/Å) with either sign, and by noise of this size."""
    rng = np.random.default_rng(int(1e6 * (force + noise)))

    def predict(frames):
        for frame in frames:
            if refuses and refuses in frame.group:
                yield Rejected(frame, "no")
                continue
            shape = frame.forces.shape
            error = force * rng.choice([-1, 1], shape) + noise * rng.normal(size=shape)
            yield Predicted(frame, frame.energy + 0.001 * len(frame), np.zeros(len(frame)), frame.forces + error)

    return predict


def test_a_student_has_the_errors_that_it_has_alone(student, file):
    alone = evaluate_file(options_of(file, student))
    both = compare_on_file(options_of(file), {"one": Predictor(str(student)), "other": off_by(0.1)})
    assert both.metrics["one"] == alone.metrics
    assert both.intervals["one"] == alone.intervals
    assert both.metrics["other"]["force_mae_meV_per_A"] == pytest.approx(100)


def test_a_difference_has_the_interval_of_samples_of_the_same_structures(file):
    fields = {"first": off_by(0.1, 0.05), "better": off_by(0.08, 0.05), "alike": off_by(0.1001, 0.05)}
    result = compare_on_file(options_of(file), fields)
    name = "force_mae_meV_per_A"
    better, low, high = result.differences["better"][name]
    assert better == pytest.approx(result.metrics["better"][name] - result.metrics["first"][name])
    assert low < better < high < 0
    alike, low, high = result.differences["alike"][name]
    assert low < 0 < high
    assert low < alike < high
    assert result.differences["better"]["energy_mae_meV_per_atom"] == pytest.approx((0, 0, 0), abs=1e-9)
    assert list(result.differences) == ["better", "alike"]


def test_the_same_force_field_twice_differs_by_exactly_nothing(file, student):
    twice = {name: Predictor(str(student)) for name in ("one", "two")}
    differences = compare_on_file(options_of(file), twice).differences["two"]
    assert set(differences.values()) == {(0.0, 0.0, 0.0)}


def test_only_structures_that_all_can_predict_are_compared(file, caplog):
    options = replace(options_of(file), group_key="molecule")
    with caplog.at_level(logging.INFO):
        result = compare_on_file(options, {"all": off_by(0.1), "some": off_by(0.1, refuses="CH4")})
    assert result.counts["structures"] == 20
    assert result.set_aside == {"no (some)": 10}
    assert "20 structures" in caplog.text
    assert "set aside: 10, because no (some)" in caplog.text
    with pytest.raises(DataError, match=r"no structure of .* can be predicted by all, 30 because no \(none\)"):
        compare_on_file(
            options_of(file), {"all": off_by(0.1), "none": lambda frames: (Rejected(f, "no") for f in frames)}
        )


def test_of_a_teacher_with_a_zero_of_its_own_only_relative_energies_are_compared(file):
    fields = {"student": off_by(0.1), "teacher": TeacherPredictor(NumberTeacher())}
    result = compare_on_file(options_of(file), fields, other_zero=["teacher"])
    compared = {"student": True, "teacher": False}
    for name, absolute in compared.items():
        assert ("energy_mae_meV" in result.metrics[name]) == absolute
        assert "relative_energy_mae_meV" in result.metrics[name]
        assert "force_mae_meV_per_A" in result.metrics[name]
    assert "energy_mae_meV" not in result.differences["teacher"]
    assert "relative_energy_mae_meV" in result.differences["teacher"]


def test_a_teacher_predicts_in_batches_what_it_labels_and_refuses_what_it_does_not_know(file):
    teacher = NumberTeacher()
    sizes = []
    teacher.label = lambda frames, rows, label=teacher.label: sizes.append(sum(map(len, frames))) or label(frames, rows)
    frames = list(options_of(file).frames())
    strange = replace(frames[3], numbers=np.full(len(frames[3]), 9))
    outcomes = list(TeacherPredictor(teacher)([*frames[:3], strange, *frames[4:]]))
    assert [isinstance(each, Rejected) for each in outcomes] == [number == 3 for number in range(30)]
    assert outcomes[3].reason == "the teacher does not know F"
    assert [each.frame.source for each in outcomes] == [frame.source for frame in frames]
    (labels,) = NumberTeacher().label([frames[7]], [np.zeros(0, int)])
    assert outcomes[7].energy == labels.energy
    np.testing.assert_array_equal(outcomes[7].forces, labels.forces)
    assert len(sizes) > 5
    assert max(sizes) <= NumberTeacher.batch_atoms


def test_labels_that_are_not_finite_are_set_aside(file):
    frames = list(options_of(file).frames())[:4]
    outcomes = list(TeacherPredictor(NumberTeacher(spoilt=frames[2].key))(frames))
    assert [getattr(each, "reason", None) for each in outcomes] == [
        None,
        None,
        "the teacher's labels are not finite",
        None,
    ]

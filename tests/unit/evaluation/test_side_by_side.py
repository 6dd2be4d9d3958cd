"""Several force fields on the same file: what is compared, and whether a difference is more than chance."""

import logging
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
from ase import Atoms

from jointkd.data.screening import Rejected
from jointkd.errors import DataError
from jointkd.evaluation.against_teacher import AgainstTeacher
from jointkd.evaluation.file_evaluation import FileEvaluation, evaluate_file
from jointkd.evaluation.predictions import Predicted, Predictor
from jointkd.evaluation.side_by_side import compare_on_file
from tests.files import isolated, molecules, saved

LABELS = {"energy_key": "REF_energy", "forces_key": "REF_forces"}


@pytest.fixture
def file(tmp_path):
    return saved(tmp_path / "some.xyz", [*isolated(), *molecules(30)])


def options_of(file, run="a student") -> FileEvaluation:
    return FileEvaluation(run=str(run), structures=str(file), **LABELS)


@dataclass
class OffBy:
    """A force field whose force components are off by `force` (eV/Å) with either sign, and by noise of this size."""

    force: float
    noise: float = 0.0
    refuses: str = ""
    has_zero: bool = True
    stress: bool = False
    trained: bool = False
    rows: float | None = None  # eV/Å²

    def __call__(self, frames):
        rng = np.random.default_rng(int(1e6 * (self.force + self.noise)))
        for frame in frames:
            if self.refuses and self.refuses in frame.group:
                yield Rejected(frame, "no")
                continue
            zeros = np.zeros((len(frame), 3)) if frame.forces is None else frame.forces
            error = self.force * rng.choice([-1, 1], zeros.shape) + self.noise * rng.normal(size=zeros.shape)
            energy = (frame.energy or 0.0) + 0.001 * len(frame)
            stress = frame.stress + 0.002 if self.stress and frame.stress is not None else None
            rows = None if self.rows is None else np.full((2, len(frame), 3), self.rows)
            yield Predicted(frame, energy, np.full(len(frame), 0.001), zeros + error, stress, hessian_rows=rows)

    def estimates(self, frame) -> bool:
        return "CH4" in frame.group

    def trained_on(self, frame) -> bool:
        return self.trained and "H2O" in frame.group


def test_a_student_has_the_errors_that_it_has_alone(student, file):
    alone = evaluate_file(options_of(file, student))
    both = compare_on_file(options_of(file), {"one": Predictor(str(student)), "other": OffBy(0.1)})
    assert both.metrics["one"] == alone.metrics
    assert both.intervals["one"] == alone.intervals
    assert both.metrics["other"]["force_mae_meV_per_A"] == pytest.approx(100)


def test_a_difference_has_the_interval_of_samples_of_the_same_structures(file):
    fields = {"first": OffBy(0.1, 0.05), "better": OffBy(0.08, 0.05), "alike": OffBy(0.1001, 0.05)}
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
        result = compare_on_file(options, {"all": OffBy(0.1), "some": OffBy(0.1, refuses="CH4")})
    assert result.counts["structures"] == 20
    assert result.set_aside == {"some: no": 10}
    assert "20 structures" in caplog.text
    assert "set aside: 10, because of some: no" in caplog.text
    both = compare_on_file(options, {"one": OffBy(0.1, refuses="CH4"), "two": OffBy(0.2, refuses="CH4")})
    assert both.set_aside == {"one: no; two: no": 10}
    with pytest.raises(DataError, match=r"no structure of .* can be predicted by all, 30 because of none: no"):
        compare_on_file(options, {"all": OffBy(0.1), "none": OffBy(0.1, refuses="H")})


def test_of_one_without_the_zero_of_the_file_only_relative_energies_are_compared(file):
    result = compare_on_file(options_of(file), {"student": OffBy(0.1), "teacher": OffBy(0.05, has_zero=False)})
    compared = {"student": True, "teacher": False}
    for name, absolute in compared.items():
        for found in (result.metrics[name], result.intervals[name]):
            assert ("energy_mae_meV" in found) == absolute
            assert "relative_energy_mae_meV" in found
            assert "force_mae_meV_per_A" in found
    assert "energy_mae_meV" not in result.differences["teacher"]
    assert "relative_energy_mae_meV" in result.differences["teacher"]


@pytest.mark.parametrize("first", ["with", "without"])
def test_stresses_are_shown_of_those_that_have_them(tmp_path, caplog, first):
    boxed = molecules(9)
    for atoms in boxed:
        atoms.set_cell(np.eye(3) * 20)
        atoms.pbc = True
        atoms.info["REF_stress"] = np.eye(3) * 0.01
    given = {"kind": "stress", "positive": "tension", "order": None, "unit": "eV/angstrom^3"}
    options = replace(options_of(saved(tmp_path / "boxed.xyz", boxed)), stress_key="REF_stress", stress=given)
    fields = {"with": OffBy(0.1, stress=True), "without": OffBy(0.1)}
    with caplog.at_level(logging.INFO):
        result = compare_on_file(options, fields if first == "with" else dict(reversed(fields.items())))
    assert result.counts["structures_with_stress"] == 9
    assert result.metrics["with"]["stress_mae_meV_per_A3"] == pytest.approx(2)
    assert "stress_mae_meV_per_A3" not in result.metrics["without"]
    assert re.search(r"stress_mae_meV_per_A3 .*2\.000", caplog.text)
    assert "no structure of" not in caplog.text


def test_a_metric_of_a_single_structure_has_no_difference(tmp_path):
    some = molecules(9)
    for atoms in some[1:]:
        del atoms.info["REF_energy"]
    result = compare_on_file(options_of(saved(tmp_path / "one.xyz", some)), {"one": OffBy(0.1), "two": OffBy(0.2)})
    assert "energy_mae_meV" in result.metrics["two"]
    assert "energy_mae_meV" not in result.differences["two"]
    assert "force_mae_meV_per_A" in result.differences["two"]


def test_energies_that_are_estimates_are_counted_for_each(file, caplog):
    with caplog.at_level(logging.INFO):
        result = compare_on_file(
            replace(options_of(file), group_key="molecule"), {"one": OffBy(0.1), "two": OffBy(0.2)}
        )
    assert result.estimates == {"one": 10, "two": 10}
    assert "one: total energies of 10 structures may be off by eV per atom" in caplog.text


@pytest.mark.parametrize("trained", [False, True])
def test_structures_of_the_training_of_any_are_counted(file, caplog, trained):
    fields = {"one": OffBy(0.1), "two": OffBy(0.2, trained=trained)}
    with caplog.at_level(logging.INFO):
        result = compare_on_file(replace(options_of(file), group_key="molecule"), fields)
    assert result.counts["structures_of_the_training"] == (10 if trained else 0)
    assert ("errors on structures of the training are smaller" in caplog.text) == trained


def test_students_are_compared_with_their_teacher(file, caplog):
    fields = {"one": OffBy(0.1, rows=0.5), "two": OffBy(0.2, rows=0.25), "teacher": OffBy(0.1, rows=0.1)}
    against = AgainstTeacher("teacher", {"two": dict.fromkeys((1, 6, 8), 0.004)})
    with caplog.at_level(logging.INFO):
        result = compare_on_file(options_of(file), fields, against)
    rows, energies = "hessian_row_mae_eV_per_A2", "atomic_energy_mae_meV"
    assert [result.metrics[name].get(rows) for name in fields] == [pytest.approx(0.4), pytest.approx(0.15), None]
    assert [result.metrics[name].get(energies) for name in fields] == [None, pytest.approx(4), None]
    assert result.differences["two"][rows] == pytest.approx((-0.25, -0.25, -0.25))
    assert re.search(rf"\n  {rows} +0\.400 +0\.150 +–\n", caplog.text)
    assert re.search(rf"\n  {rows} +-0\.2500 \[", caplog.text)
    assert len(re.findall(rf"\n  {energies} ", caplog.text)) == 1  # there is no difference to show


def test_structures_without_labels_are_compared_with_the_teacher(tmp_path):
    bare = molecules(4)
    for atoms in bare:
        del atoms.info["REF_energy"], atoms.arrays["REF_forces"]
    fields = {"one": OffBy(0.1, rows=0.5), "teacher": OffBy(0.1, rows=0.1)}
    result = compare_on_file(options_of(saved(tmp_path / "bare.xyz", bare)), fields, AgainstTeacher("teacher"))
    assert result.metrics["one"] == pytest.approx({"hessian_row_mae_eV_per_A2": 0.4})


def test_the_file_is_read_once(file, monkeypatch):
    reads = []
    frames = FileEvaluation.frames
    monkeypatch.setattr(FileEvaluation, "frames", lambda options: reads.append(1) or frames(options))
    compare_on_file(options_of(file), {"one": OffBy(0.1), "two": OffBy(0.2), "three": OffBy(0.3)})
    assert len(reads) == 1


def test_distances_to_the_hull_do_not_depend_on_the_zero_of_a_teacher(tmp_path):
    pytest.importorskip("pymatgen.analysis.phase_diagram", reason="pymatgen is not installed")
    crystals = [Atoms([z] * 2, [[0, 0, 0], [1.5, 0, 0]], cell=[3, 3, 3], pbc=True) for z in (1, 6)]
    for number, each in enumerate(crystals):
        each.info["REF_energy"] = -3.0 * number
    options = replace(options_of(saved(tmp_path / "crystals.xyz", crystals)), hull=0.025)
    result = compare_on_file(options, {"student": OffBy(0.0), "teacher": OffBy(0.0, has_zero=False)})
    assert result.metrics["teacher"] == pytest.approx(
        {"hull_distance_mae_meV_per_atom": 0, "stable_precision": 1, "stable_recall": 1, "stable_f1": 1}, abs=1e-6
    )

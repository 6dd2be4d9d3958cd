"""A student on any file: what is read, said, written and refused."""

import csv
import json
import logging
import re
import shutil

import numpy as np
import pytest
from ase import Atoms
from ase.io import read

from jointkd.deploy.ase import JointKD
from jointkd.errors import ConfigError, DataError
from jointkd.evaluation.file_errors import FileErrors, described
from jointkd.evaluation.file_evaluation import FileEvaluation, evaluate_file
from tests.files import isolated, molecules, saved

LABELS = {"energy_key": "REF_energy", "forces_key": "REF_forces"}


@pytest.fixture
def file(tmp_path):
    return saved(tmp_path / "some.xyz", [*isolated(), *molecules(9)])


def evaluated(student, file, **options) -> FileErrors:
    return evaluate_file(FileEvaluation(run=str(student), structures=str(file), **{**LABELS, **options}))


def test_errors_are_those_of_the_calculator(student, file):
    result = evaluated(student, file, group_key="molecule")
    energies, forces = [], []
    for atoms in molecules(9):
        energy, force = atoms.info["REF_energy"], atoms.arrays["REF_forces"]
        atoms.calc = JointKD(student, device="cpu")
        energies.append(1e3 * (atoms.get_potential_energy() - energy) / len(atoms))
        forces.append(1e3 * (atoms.get_forces() - force))
    assert result.counts["structures"] == 9
    assert result.metrics["energy_mae_meV_per_atom"] == pytest.approx(np.abs(energies).mean(), rel=1e-4)
    assert result.metrics["force_mae_meV_per_A"] == pytest.approx(np.abs(np.concatenate(forces)).mean(), rel=1e-4)
    assert set(result.by_group) == {"H2O", "CH3OH", "CH4"}
    assert set(result.intervals) == set(result.metrics)
    assert not result.by_config_type


def test_units_are_those_of_the_options(student, tmp_path, file):
    scaled = molecules(9)
    for atoms in scaled:
        atoms.info["REF_energy"] *= 1e3
        atoms.arrays["REF_forces"] *= 1e3
    other = saved(tmp_path / "mev.xyz", scaled)
    metrics = evaluated(student, other, units={"energy": "meV", "length": "angstrom"}).metrics
    assert metrics == pytest.approx(evaluated(student, file).metrics, rel=1e-4)


def test_molecules_have_no_distance_to_the_convex_hull(student, file, caplog):
    pytest.importorskip("pymatgen.analysis.phase_diagram", reason="pymatgen is not installed")
    result = evaluated(student, file, hull=0.025)
    assert result.counts["structures_with_hull_distance"] == 0
    assert "a distance to the convex hull: the file must have crystals (periodic in three directions)" in caplog.text


@pytest.mark.parametrize("key", ["energy_key", "forces_key"])
def test_a_file_without_a_label_is_evaluated_by_the_other_one(student, file, key, caplog):
    with caplog.at_level(logging.WARNING):
        result = evaluated(student, file, **{key: "elsewhere"})
    label = key.removesuffix("_key")
    assert f"no structure of {file} has {label} under data.{key}=elsewhere" in caplog.text
    assert any(name.startswith("force") for name in result.metrics) == (label == "energy")
    assert any("energy" in name for name in result.metrics) == (label == "forces")
    quiet = evaluated(student, file, **{key: None})
    assert quiet.metrics == result.metrics


def test_a_file_without_labels_is_predicted(student, file, tmp_path):
    outputs = (str(tmp_path / "pred.xyz"), str(tmp_path / "pred.csv"))
    result = evaluated(student, file, energy_key=None, forces_key=None, output=outputs)
    assert result.metrics == result.intervals == {}
    first = next(atoms for atoms in read(tmp_path / "pred.xyz", index=":") if len(atoms) > 1)
    first.calc = JointKD(student, device="cpu")
    assert first.info["jointkd_energy"] == pytest.approx(first.get_potential_energy(), abs=1e-4)
    assert not (tmp_path / "pred.png").exists()


def test_structures_that_are_set_aside_are_counted_with_the_reason(student, tmp_path, caplog):
    some = molecules(6)
    some[1].numbers[0] = 14
    some[2].numbers[0] = 14
    some[3].info["charge"] = 1
    file = saved(tmp_path / "some.xyz", some)
    with caplog.at_level(logging.WARNING):
        result = evaluated(student, file, output=(str(tmp_path / "pred.csv"),))
    unknown, charged = "the student was not trained on Si", "it is charged, and the student takes no charge"
    assert result.set_aside == {unknown: 2, charged: 1}
    assert result.counts["structures"] == 3
    assert f"some.xyz frame 1 is set aside: {unknown}" in caplog.text
    assert f"set aside: 2, because {unknown}" in described(result, "some.xyz")
    assert (tmp_path / "pred.csv").read_text().count("\n") == 1 + 6
    assert (tmp_path / "pred.png").exists()


def test_errors_by_the_distance_from_the_training(student, file, tmp_path, caplog):
    near, far = molecules(9), molecules(9)
    for atoms in far:
        atoms.positions *= 1.3
    saved(tmp_path / "both.xyz", [*far, *near])
    output = (str(tmp_path / "pred.csv"), str(tmp_path / "pred.xyz"))
    with caplog.at_level(logging.INFO):
        result = evaluated(student, tmp_path / "both.xyz", training=str(file), output=output)
    assert [rows["structures"] for rows in result.by_training_distance.values()] == [5, 5, 4, 4]
    assert next(iter(result.by_training_distance)) == "0.00 to 0.00"  # structures of the training themselves
    assert re.search(r"training distance +structures.*\n +0\.00 to 0\.00 +5 ", caplog.text)
    with (tmp_path / "pred.csv").open() as opened:
        distances = [float(row["training_distance"]) for row in csv.DictReader(opened)]
    assert min(distances[:9]) > 1 > max(distances[9:]) == 0
    for atoms, distance in zip(read(tmp_path / "pred.xyz", index=":"), distances, strict=True):
        assert atoms.info["jointkd_training_distance"] == pytest.approx(distance, rel=1e-6)
    assert evaluated(student, file).by_training_distance == {}


def test_structures_of_the_training_are_counted(student, file, tmp_path, caplog):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(student, run / "student.safetensors")
    keys = [frame.key for frame in FileEvaluation(run="", structures=str(file), **LABELS).frames()]
    (run / "split.json").write_text(json.dumps({"keys": {"train": keys[:4], "val": keys[4:6], "test": keys[6:]}}))
    for place, count in ((run, 4), (run / "student.safetensors", 4), (student, 0)):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            assert evaluated(place, file).counts["structures_of_the_training"] == count
        assert ("4 structures of the training" in caplog.text) == bool(count)
        assert ("errors on structures of the training are smaller than" in caplog.text) == bool(count)


@pytest.mark.parametrize("content", ["not JSON", "[]", '{"keys": [1]}', '{"keys": {"train": 5}}', "{}"])
def test_a_damaged_split_beside_the_student_does_not_matter(student, file, tmp_path, content):
    shutil.copy(student, tmp_path / "student.safetensors")
    (tmp_path / "split.json").write_text(content)
    assert evaluated(tmp_path / "student.safetensors", file).counts["structures_of_the_training"] == 0


def test_nothing_that_exists_is_replaced(student, file, tmp_path):
    before = (tmp_path / "pred.png").write_text("mine")
    for options in ({"output": (str(tmp_path / "pred.csv"),)}, {"plot": str(tmp_path / "pred.png")}):
        with pytest.raises(ConfigError, match=r"plot=.*pred\.png exists and is not replaced; give another name"):
            evaluated(student, file, **options)
    assert len((tmp_path / "pred.png").read_text()) == before
    assert not (tmp_path / "pred.csv").exists()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"structures": "silicon.xyz"},
            r"none of the 2 structures of structures=silicon\.xyz can be predicted, 2 because",
        ),
        ({"plot": "parity.pdf"}, r"plot=parity\.pdf must end with \.png"),
        ({"output": ("a.csv", "a.csv")}, "names a file twice"),
        ({"seed": -1}, "seed=-1 must be an integer"),
        ({"training": "nowhere.xyz"}, r"training=nowhere\.xyz does not exist"),
        ({"training": "silicon.xyz"}, "training has 2 structures, of which too few differ"),
        ({"structures": "none.xyz"}, r"structures=none\.xyz does not exist"),
        ({"structures": "empty.xyz"}, r"structures=empty\.xyz contains no structures"),
        ({"structures": "."}, r"structures=\. must not contain the working directory"),
        ({"run": "none"}, "the student file none does not exist"),
        ({"run": "empty.xyz"}, "empty.xyz is not a student file|empty.xyz"),
        ({"units": {"energy": "Ry"}}, r"data\.units\.energy='Ry' is not a known unit"),
        ({"energy_key": "molecule"}, r"must have energy of shape \[\].*or to null, so that it is not read"),
    ],
)
def test_bad_input_gets_one_line_and_writes_nothing(student, file, tmp_path, monkeypatch, options, line):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "empty.xyz", isolated())
    saved(tmp_path / "silicon.xyz", [Atoms("Si2", [[0, 0, 0], [0, 0, 2]])] * 2)
    before = sorted(tmp_path.iterdir())
    with pytest.raises((ConfigError, DataError), match=line):
        evaluated(**{"student": student, "file": file, **renamed(options)})
    assert sorted(tmp_path.iterdir()) == before


def renamed(options):
    return {{"run": "student", "structures": "file"}.get(name, name): value for name, value in options.items()}


def test_a_file_that_breaks_off_leaves_no_files(student, file, tmp_path):
    file.write_text(file.read_text()[:-200])
    with pytest.raises(DataError, match="cannot be read after"):
        evaluated(student, file, output=(str(tmp_path / "pred.xyz"), str(tmp_path / "pred.csv")))
    assert [path.name for path in tmp_path.iterdir()] == ["some.xyz"]

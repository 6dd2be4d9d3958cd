"""The example that ships with jointkd: its data, its teacher, and a few steps of the three methods on it."""

import json

import numpy as np
import pytest

from jointkd.cli.config_tree import PACKAGE
from jointkd.data.readers import extxyz
from jointkd.data.splits import Split

FEW_STEPS = ("trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "label.rows=2", "label.eval_rows=1")


@pytest.fixture(scope="module")
def splits():
    frames, isolated = extxyz.read(str(PACKAGE / "demo" / "conformations.xyz.gz"), group_key="group", split_key="split")
    structures = list(frames)
    assert set(isolated) == {1, 6, 7, 8}
    indices = Split(by="file").indices(structures)
    return {split: [structures[index] for index in part] for split, part in indices.items()}


def test_no_trajectory_or_structure_of_the_example_is_in_two_splits(splits):
    assert {split: len(frames) for split, frames in splits.items()} == {"train": 36, "val": 54, "test": 108}
    for identity in (lambda frame: frame.group, lambda frame: frame.key):
        train, val, test = ({identity(frame) for frame in frames} for frames in splits.values())
        assert not train & val
        assert not train & test
        assert not val & test


def test_the_teacher_of_the_example_is_accurate(splits):
    pytest.importorskip("mace")
    from jointkd.teachers.mace import from_checkpoint

    teacher = from_checkpoint(str(PACKAGE / "demo" / "teacher"), "demo", "float64", "cpu", 128)
    frames = splits["test"][::9]
    errors = []
    for frame in frames:
        (labels,) = teacher.label([frame], [np.array([], dtype=int)])
        errors.append(np.abs(labels.forces - frame.forces).ravel())
    assert 1e3 * np.concatenate(errors).mean() < 55  # meV/Å; a student without this teacher has more than twice that


def test_the_three_methods_run_end_to_end_and_are_compared(command, tmp_path):
    pytest.importorskip("mace")
    sweep = command("train", "-m", "experiment=demo", "method=none,hessian,joint", "seed=0", *FEW_STEPS)
    assert sweep.status == 0, sweep.err
    reported = command("report", "runs=outputs/demo")
    assert reported.status == 0, reported.err
    summary = json.loads((tmp_path / "outputs" / "demo" / "comparison.json").read_text())
    assert list(summary["methods"]) == ["none", "hessian", "joint"]
    assert summary["seeds"] == [0]
    assert summary["seconds"] > 0
    for metrics in summary["methods"].values():
        for name in ("energy_mae_meV_per_atom", "force_mae_meV_per_A", "hessian_row_mae_eV_per_A2"):
            assert metrics[name].keys() - {"interval"} == {"mean", "std"}
            assert np.isfinite(metrics[name]["mean"])
    assert "interval" in summary["methods"]["joint"]["force_mae_meV_per_A"]
    assert "report.html" in reported.out
    for name in ("table.md", "comparison.png", "report.html", "parity.png", "formation.csv"):
        assert (tmp_path / "outputs" / "demo" / name).exists()

"""Many runs side by side."""

import json
from pathlib import Path

import pytest

from jointkd.comparison import read_runs, summarise, table
from jointkd.errors import DataError


def run(folder: Path, method: str, seed: int, energy: float, data: str = "demo") -> None:
    folder.mkdir(parents=True)
    values = {
        "method": method,
        "student": "painn",
        "teacher": "mace",
        "data": data,
        "seed": seed,
        "test": {"energy_mae_meV_per_atom": energy},
        "started": 100.0 * seed,
        "ended": 100.0 * seed + 50,
    }
    (folder / "summary.json").write_text(json.dumps(values))


def test_methods_are_averaged_over_seeds_and_stand_in_their_usual_order(tmp_path):
    for seed, energy in enumerate([1.0, 2.0, 3.0]):
        run(tmp_path / f"j{seed}", "joint", seed, energy)
        run(tmp_path / f"n{seed}", "none", seed, 2 * energy)
    summary = summarise(read_runs(tmp_path))
    assert list(summary["methods"]) == ["none", "joint"]
    assert summary["methods"]["joint"]["energy_mae_meV_per_atom"] == {"mean": 2.0, "std": 1.0}
    assert summary["seeds"] == [0, 1, 2]
    assert summary["seconds"] == 250.0
    assert "| joint | 2 ± 1 |" in table(summary)


def test_one_seed_has_no_spread(tmp_path):
    run(tmp_path / "a", "joint", 0, 2.0)
    assert "| joint | 2 |" in table(summarise(read_runs(tmp_path)))


def test_runs_on_different_data_are_not_averaged_together(tmp_path):
    run(tmp_path / "a", "joint", 0, 2.0, data="demo")
    run(tmp_path / "b", "joint", 0, 4.0, data="other")
    methods = summarise(read_runs(tmp_path))["methods"]
    assert {name: values["energy_mae_meV_per_atom"]["mean"] for name, values in methods.items()} == {
        "demo joint": 2.0,
        "other joint": 4.0,
    }


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no finished runs"):
        read_runs(tmp_path)

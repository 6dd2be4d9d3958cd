"""From a command line to finished runs: sweeps, their comparison, evaluation, and training without DFT."""

import csv
import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from jointkd.commands import evaluate
from jointkd.evaluation.metrics import without_stage
from tests.files import isolated, molecules, saved

TINY = (
    "data=extxyz",
    "data.path=mine.xyz",
    "student.width=8",
    "student.layers=1",
    "student.radial=4",
    "student.cutoff=3",
    "trainer.max_epochs=1",
    "label.rows=2",
    "label.eval_rows=2",
)
KEYS = ("data.energy_key=REF_energy", "data.forces_key=REF_forces")


@pytest.fixture
def options(tmp_path: Path, tiny_mace: Path) -> tuple[str, ...]:
    """Options of a run of seconds, on a small file with a very small teacher."""
    saved(tmp_path / "mine.xyz", [*isolated(), *molecules(20)])
    return (*TINY, "teacher=mace", f"teacher.checkpoint={tiny_mace}")


def summary_of(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text())


def test_each_job_of_a_sweep_has_its_own_folder_and_all_are_compared_and_evaluated(command, tmp_path, options):
    trained = command("train", "-m", *options, *KEYS, "method=none,joint", "seed=0,1", "hydra.sweep.dir=sweep")
    assert trained.status == 0, trained.err
    runs = sorted(file.parent for file in (tmp_path / "sweep").rglob("config.yaml") if file.parent.name != ".hydra")
    assert len(runs) == 4
    seen = set()
    for run in runs:
        config, summary = OmegaConf.load(run / "config.yaml"), summary_of(run)
        assert (config.method.name, config.seed) == (summary["method"], summary["seed"])
        assert summary["failed_labels"] == {}
        assert not OmegaConf.missing_keys(config)
        seen.add((summary["method"], summary["seed"]))
        provenance = json.loads((run / "provenance.json").read_text())
        assert set(provenance["data"]) == {"train", "val", "test"}
        assert provenance["teacher"]["name"] == "mace"
        with (run / "metrics" / "metrics.csv").open() as opened:
            assert any(row.get("val/force_mae_meV_per_A") for row in csv.DictReader(opened))
    assert seen == {("none", 0), ("none", 1), ("joint", 0), ("joint", 1)}
    assert len({summary_of(run)["test"]["force_mae_meV_per_A"] for run in runs}) == 4

    reported = command("report", "runs=sweep")
    assert reported.status == 0, reported.err
    assert (tmp_path / "sweep" / "comparison.png").stat().st_size > 10_000
    lines = (tmp_path / "sweep" / "table.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines[2 : 2 + 3]] == ["teacher mace", "none", "joint"]
    summary = json.loads((tmp_path / "sweep" / "comparison.json").read_text())
    values = [
        summary_of(run)["test"]["energy_mae_meV_per_atom"] for run in runs if summary_of(run)["method"] == "joint"
    ]
    assert summary["seeds"] == [0, 1]
    assert summary["methods"]["joint"]["energy_mae_meV_per_atom"]["mean"] == pytest.approx(sum(values) / 2)
    assert command("report", "runs=sweep").status == 0  # its own files do not count as a run

    for run in runs:
        metrics = evaluate.run(OmegaConf.create({"run": str(run), "checkpoint": "best"}))
        assert without_stage(metrics) == summary_of(run)["test"]

    evaluated = command("evaluate", f"run={runs[0].relative_to(tmp_path)}")
    assert evaluated.status == 0, evaluated.err
    assert f"{summary_of(runs[0])['test']['force_mae_meV_per_A']:.3f}" in evaluated.out


def test_without_reference_calculations_the_teachers_energies_and_forces_are_learned(command, tmp_path, options):
    unlabelled = molecules(20)
    for atoms in unlabelled:
        del atoms.info["REF_energy"], atoms.arrays["REF_forces"]
    saved(tmp_path / "mine.xyz", unlabelled)
    null = ("data.energy_key=null", "data.forces_key=null")

    trained = command("train", *options, *null, "data.reference=teacher")
    assert trained.status == 0, trained.err
    (run,) = [file.parent for file in (tmp_path / "outputs").rglob("summary.json")]
    assert set(summary_of(run)["test"]) == {
        "energy_mae_meV",
        "energy_mae_meV_per_atom",
        "force_mae_meV_per_A",
        "atomic_energy_mae_meV",
        "hessian_row_mae_eV_per_A2",
    }


def test_reference_energies_from_a_teacher_need_a_teacher(command, tmp_path):
    saved(tmp_path / "mine.xyz", molecules(20))
    refused = command("train", *TINY, *KEYS, "data.reference=teacher", "teacher=none", "method=none")
    assert refused.status == 1
    assert "needs a teacher" in refused.err
    assert refused.err.count("\n") == 1


def test_a_run_with_the_flaws_of_the_prior_art_trains_and_logs_them(command, tmp_path, options):
    near = "callbacks.halving.within=1000"  # which every student meets
    trained = command("train", *options, *KEYS, "preset=paper", "method=hessian", "trainer.max_epochs=6", near)
    assert trained.status == 0, trained.err
    (run,) = [file.parent for file in (tmp_path / "outputs").rglob("summary.json")]
    log = (run / "jointkd.log").read_text()
    assert "force MAE of the teacher on the validation split" in log
    assert "step 20: validation force MAE" in log
    assert "student.max_neighbors=50" in log


def test_weights_by_the_spread_of_an_ensemble_are_refused_for_a_single_teacher(command, tmp_path, options):
    refused = command("train", *options, *KEYS, "method.terms.atomic_energy.spread=0.1")
    assert refused.status == 1
    assert refused.err.startswith("ConfigError: method.terms.atomic_energy.spread needs teachers that disagree")
    assert refused.err.count("\n") == 1
    assert not (tmp_path / "outputs" / "labels").exists()

"""Every table and figure of the paper is one command, whose jobs are those of the paper and run."""

import json
from pathlib import Path

import hydra
import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from jointkd.cli.config_tree import CONF, choices
from tests.configurations import composed
from tests.files import isolated, molecules, saved

SPICE, MPTRJ = ("monomers", "solvated_aa", "iodine"), ("pm3m", "yttrium", "bandgap5")
JOBS = {  # number of runs, and their teachers
    "table1": (6, {"mace_off_large"}),
    "table2": (3 * 3 * 3, {"mace_off_large"}),
    "table3": (3 * 2 * 3, {"mace_mp_large"}),
    "table4": (2 * 3 * 3, {"esen_oam"}),
    "table12": (4, {"mace_off_large"}),
    "figure3": (6 * 2 * 2, {"mace_off_large", "mace_mp_large"}),
    "figure4": (5 * 2, {"mace_off_large"}),
    "figure7": (3 * 2, {"mace_off_large"}),
    "figure5": (2, {"mace_off_large"}),
}
OWN = {"learning_curve": 4 * 3, "atomic_energy_weight": 6, "hessian_weight": 6}  # on data of the user's: runs
TINY = (
    "data=extxyz",
    "data.path=mine.xyz",
    "data.energy_key=REF_energy",
    "data.forces_key=REF_forces",
    "data.batch_size=8",
    "teacher=mace",
    "student.cutoff=3",
    "trainer.max_epochs=1",
    "trainer.max_steps=2",
    "label.rows=4",
    "label.eval_rows=1",
)
SMALL = {
    "gemnet_dt": ("student=gemnet_dt", "student.width=8", "student.blocks=1"),
    "gemnet_t": ("student=gemnet_t", "student.width=8", "student.blocks=1"),
    "painn": ("student=painn", "student.width=8", "student.layers=1", "student.radial=4"),
}
SOME = {  # some jobs of each experiment: the student, the swept option, and a line of the report
    "table1": ("gemnet_dt", "weights.atomic_energy=0,20", "| joint | 20 |"),
    "table2": ("gemnet_t", "method=hessian", "| hessian |"),
    "table3": ("painn", "method=joint", "| joint |"),
    "table4": ("gemnet_t", "method=none", "| none |"),
    "table12": ("gemnet_dt", "weights={energy:0,forces:0,atomic_energy:20,hessian:400}", "| joint |"),
    "figure3": ("painn", "method=hessian,joint", "Epochs to the final validation energy error"),
    "figure4": ("gemnet_dt", "student.width=4,8", "| joint | 8 ("),
    "figure7": ("painn", "method=hessian", "| hessian |"),
    "figure5": ("gemnet_dt", "method=joint", "| joint |"),
}


def jobs(experiment: str) -> list[list[str]]:
    """The overrides of each job of an experiment, as Hydra's sweeper makes them."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", [f"experiment={experiment}"], return_hydra_config=True)
    lines = [f"{name}={value}" for name, value in config.hydra.sweeper.params.items()]
    (batch,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(lines), None)
    return batch


def covering(everything: list[list[str]]) -> list[list[str]]:
    """A part of the jobs in which every override of all jobs occurs."""
    selected, covered = [], set()
    for job in everything:
        if set(job) - covered:
            selected.append(job)
            covered |= set(job)
    return selected


def test_every_experiment_of_the_paper_has_a_configuration():
    assert set(choices("experiment")) == {*JOBS, *OWN, "demo"}
    assert set(JOBS) == set(SOME)


@pytest.mark.parametrize("experiment", JOBS)
def test_the_jobs_of_an_experiment_are_those_of_the_paper_and_compose(experiment):
    count, teachers = JOBS[experiment]
    everything = jobs(experiment)
    assert len(everything) == count
    assert not any({"data=bandgap5", "student=gemnet_t"} <= set(job) for job in everything)
    if experiment == "table4":
        assert not any("data=bandgap5" in job for job in everything)
    used = set()
    for job in covering(everything):
        config = composed(f"experiment={experiment}", *job)
        used.add(config.teacher.name)
        molecular = config.data.name in (*SPICE, "3bpa")
        assert config.teacher.name.startswith("mace_off" if molecular else ("mace_mp", "esen"))
        assert config.data.name in (*SPICE, *MPTRJ, "3bpa")
        assert config.method.trust == config.callbacks.trust.trust == "constant"
        assert config.trainer.max_epochs < 1000 or config.data.name != "bandgap5"
    assert used == teachers


@pytest.mark.parametrize("experiment", OWN)
def test_the_jobs_of_an_experiment_on_own_data_compose_with_any_file(experiment):
    everything = jobs(experiment)
    assert len(everything) == OWN[experiment]
    for job in covering(everything):
        config = composed(f"experiment={experiment}", "data=extxyz", "data.path=mine.xyz", *job)
        assert config.data.name == "mine"
        assert config.callbacks.trust.trust == "auto"


@pytest.mark.parametrize(("structures", "epochs", "validated"), [(20, 800, 8), (402, 39, 1), (100_000, 1, 1)])
def test_runs_of_a_learning_curve_have_the_same_number_of_steps(structures, epochs, validated):
    options = ("data=extxyz", "data.path=mine.xyz", f"data.split.train={structures}", "trainer.max_steps=4000")
    trainer = composed("experiment=learning_curve", "schedule=cosine", *options).trainer
    assert (trainer.max_epochs, trainer.check_val_every_n_epoch) == (epochs, validated)


def test_a_share_of_the_structures_is_no_size_for_a_learning_curve():
    with pytest.raises(Exception, match=r"data.split.train=0.5 must be a number of structures"):
        composed("experiment=learning_curve", "data.split.train=0.5").trainer.max_epochs  # noqa: B018


def test_table_1_sweeps_the_weight_of_the_atomic_energies():
    assert [float(job[0].split("=")[1]) for job in jobs("table1")] == [0, 1, 10, 20, 100, 1000]
    config = composed("experiment=table1", "weights.atomic_energy=100")
    assert config.method.terms.atomic_energy.weight == 100
    assert (config.data.name, config.student_name, config.method.name) == ("solvated_aa", "gemnet_dt", "joint")


def test_table_12_sets_all_four_weights_of_each_row():
    rows = []
    for job in jobs("table12"):
        terms = composed("experiment=table12", *job).method.terms
        rows.append(tuple(terms[name].weight for name in ("energy", "forces", "atomic_energy", "hessian")))
    assert rows == [(5, 100, 0, 0), (0, 0, 20, 400), (0, 100, 20, 400), (5, 100, 20, 400)]


@pytest.mark.parametrize(
    "experiment",
    [name if name in ("table1", "figure3") else pytest.param(name, marks=pytest.mark.slow) for name in JOBS],
)
def test_jobs_of_each_experiment_run_on_tiny_data_and_are_reported(command, tmp_path, tiny_mace, experiment):
    student, swept, line = SOME[experiment]
    count = 2 if swept.count(",") == 1 else 1
    arguments = tiny(tmp_path, experiment, student, swept, tiny_mace)
    if experiment == "figure4":
        arguments.append("method=joint")
    trained = command("train", "-m", *arguments)
    assert trained.status == 0, trained.err
    folder = tmp_path / "outputs" / experiment
    summaries = [json.loads(file.read_text()) for file in sorted(folder.rglob("summary.json"))]
    assert len(summaries) == count
    assert all(summary["steps"] == 2 and summary["teacher_test"] for summary in summaries)
    assert all(swept.split("=")[0] in str(file) for file in folder.rglob("summary.json"))
    reported = command("report", f"runs={folder.relative_to(tmp_path)}")
    assert reported.status == 0, reported.err
    assert line in (folder / "table.md").read_text()
    assert (folder / "comparison.png").exists()
    assert (folder / "epochs.png").exists() == (experiment == "figure3")


def tiny(folder: Path, experiment: str, student: str, swept: str, teacher: Path) -> list[str]:
    """The options of an experiment on a small file with a very small teacher."""
    saved(folder / "mine.xyz", [*isolated(), *molecules(20)])
    small = [option for option in SMALL[student] if option.split("=")[0] != swept.split("=")[0]]
    return [f"experiment={experiment}", *TINY, *small, swept, f"teacher.checkpoint={teacher}"]


def test_a_resumed_sweep_keeps_finished_runs_and_starts_the_missing_ones(command, tmp_path, tiny_mace):
    arguments = tiny(tmp_path, "table1", "painn", "weights.atomic_energy=20", tiny_mace)
    assert command("train", "-m", *arguments).status == 0
    (before,) = finished(tmp_path)
    logged = (before / "metrics" / "metrics.csv").read_text()
    summary = (before / "summary.json").read_text()
    written = (before / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    arguments = tiny(tmp_path, "table1", "painn", "weights.atomic_energy=0,20", tiny_mace)
    assert command("train", "-m", *arguments, "ckpt_path=last").status == 0
    new, after = finished(tmp_path)
    assert after == before
    assert new.name == "weights.atomic_energy=0"
    assert (after / "checkpoints" / "last.ckpt").stat().st_mtime_ns == written  # no step remained
    assert (after / "metrics" / "metrics.csv").read_text() == logged
    assert (after / "summary.json").read_text() == summary
    assert [json.loads((run / "summary.json").read_text())["steps"] for run in (new, after)] == [2, 2]


def finished(folder: Path) -> list[Path]:
    return sorted(file.parent for file in (folder / "outputs" / "table1").rglob("summary.json"))

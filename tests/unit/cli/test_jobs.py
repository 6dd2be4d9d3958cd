"""The jobs of a sweep are listed, and an experiment that is a sweep is not a single run."""

import re

import pytest

from jointkd.cli.command import printed
from jointkd.cli.jobs import check_sweep, jobs_of
from jointkd.errors import ConfigError


def test_the_jobs_of_an_experiment_are_the_product_of_what_it_sweeps():
    jobs = jobs_of("train", ["experiment=table2", "method=none,joint", "seed=3"])
    assert len(jobs) == 3 * 3 * 2
    assert {"data=iodine", "student=gemnet_t", "method=joint", "experiment=table2", "seed=3"} in map(set, jobs)


@pytest.mark.parametrize("experiment", ["table1", "table2", "table3", "table4", "table12", "figure3", "figure4"])
def test_an_experiment_that_is_a_sweep_is_refused_as_a_single_run(experiment):
    with pytest.raises(
        ConfigError, match=rf"experiment={experiment} is a sweep of \d+ jobs.*run it with -m experiment="
    ):
        printed("train", [f"experiment={experiment}"])


def test_an_experiment_is_a_single_run_where_every_swept_option_is_given():
    check_sweep("train", ["experiment=table2", "data=iodine", "student=painn", "method=none"])
    check_sweep("train", ["experiment=demo"])
    check_sweep("train", ["method=none"])


def test_a_sweep_is_listed_without_being_run():
    assert printed("train", ["-m", "method=none,joint", "seed=0", "list=true"]).splitlines() == [
        "   0  method=none seed=0",
        "   1  method=joint seed=0",
        "2 jobs",
        "",
        "labels that they share; each of these estimates their size and hours:",
        "  python -m jointkd.label teacher=demo data=demo student=painn label.dry_run=true",
    ]


def test_the_labels_of_a_sweep_are_named_once_each_with_the_options_they_depend_on():
    swept = ["-m", "experiment=table4", "student=painn", "label.rows=8", "seed=0,1", "list=true"]
    commands = [line for line in printed("train", swept).splitlines() if "jointkd.label" in line]
    assert commands == [
        f"  python -m jointkd.label teacher=esen_oam data={data} student=painn label.rows=8 label.dry_run=true"
        for data in ("pm3m", "yttrium")
    ]
    assert "label" not in printed("train", ["-m", "teacher=none", "method=none", "seed=0,1", "list=true"])


def test_the_configuration_of_a_sweep_cannot_be_printed():
    with pytest.raises(ConfigError, match="--cfg prints the configuration of one job"):
        printed("train", ["-m", "experiment=table2", "--cfg", "job"])


@pytest.mark.parametrize(
    ("name", "argument", "remedy"),
    [
        ("train", "seed=0,1", "add -m for a run of each, or quote one value, as 'seed=\"0,1\"'"),
        ("train", "method=none,joint", "add -m for a run of each, or give one"),
        ("train", "method=glob(*)", "add -m for a run of each, or give one"),
        ("evaluate", "run=a,b", r"write it as run=\[a,b\], or quote one value"),
    ],
)
def test_several_values_in_a_single_run_are_refused(name, argument, remedy):
    with pytest.raises(ConfigError, match="has several values, and this is a single run; ") as caught:
        check_sweep(name, [argument])
    assert re.search(remedy, str(caught.value))

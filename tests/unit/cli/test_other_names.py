"""Names that other programs use are answered with the names of the options here."""

import pytest

from jointkd.cli.options import check_overrides, known_options
from jointkd.cli.other_names import OTHER_NAMES, meant_by
from jointkd.errors import ConfigError

COMMANDS = ("train", "label", "evaluate", "simulate", "report", "sample", "scan")


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("lr=1e-3", "optimizer.lr"),
        ("trainer.lr=1e-3", "optimizer.lr"),
        ("learning-rate=1e-3", "optimizer.lr"),
        ("epochs=10", "trainer.max_epochs"),
        ("batch_size=8", "data.batch_size"),
        ("device=gpu", "trainer.accelerator"),
        ("r_max=5", "student.cutoff"),
        ("model=painn", "student"),
        ("train_file=a.xyz", "data.path or data.train"),
        ("output_dir=runs", "hydra.run.dir"),
    ],
)
def test_a_name_of_another_program_is_answered_with_that_of_the_option(option, meant):
    with pytest.raises(ConfigError, match=rf"there is no option .*; did you mean {meant}\? --help lists all$"):
        check_overrides("train", [option])


def test_only_options_of_the_command_are_named():
    with pytest.raises(ConfigError, match=r"did you mean structures\?"):
        check_overrides("simulate", ["run=a.safetensors", "file=a.xyz"])
    with pytest.raises(ConfigError, match=r"there is no option epochs; the top level has runs"):
        check_overrides("report", ["runs=a", "epochs=3"])


def test_a_misspelt_name_is_answered_with_the_nearest_one_rather_than_one_that_ends_alike():
    with pytest.raises(ConfigError, match=r"there is no option weigths.hessian; did you mean weights.hessian\? "):
        check_overrides("train", ["weigths.hessian=3"])


def test_a_name_of_many_options_is_no_hint():
    assert meant_by("name", ["a.name", "b.name", "c.name", "d.name"]) == []
    assert meant_by("rows", ["label.rows", "hessian.rows"]) == ["label.rows", "hessian.rows"]


def test_every_option_that_other_names_stand_for_exists():
    known = {option for command in COMMANDS for option in known_options(command)}
    assert not [option for option in OTHER_NAMES if option not in known and not option.startswith("hydra.")]

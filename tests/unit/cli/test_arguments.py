"""Paths and texts on the command line are taken as they were written, and null is a choice where there is one."""

import os

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from jointkd.cli.arguments import as_hydra_reads, parse
from jointkd.cli.config_tree import is_optional
from jointkd.cli.paths import FILES, expand_home


def value_of(argument: str):
    """What Hydra reads in an argument, after it was made readable."""
    (readable,) = as_hydra_reads([argument])
    override = OverridesParser.create().parse_override(readable)
    return list(override.sweep_iterator()) if override.is_sweep_override() else override.value()


@pytest.mark.parametrize(
    "name",
    [
        "mine.xyz",
        "epoch=9.xyz",
        "my water (1).xyz",
        "wäß.xyz",
        "water@300K.xyz",
        "it's.xyz",
        'a "b".xyz',
        "run[1]/*.xyz",
        "a, (b).xyz",
    ],
)
@pytest.mark.parametrize("option", ["data.path", "label.path", "run", "+data.path"])
def test_a_path_is_taken_as_it_was_written(option, name):
    assert value_of(f"{option}={name}") == name


@pytest.mark.parametrize("name", ["a,b.xyz", "12", "[a]"])
def test_a_file_that_exists_is_no_sweep_list_or_number(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert value_of(f"data.path={name}") != name
    (tmp_path / name).touch()
    assert value_of(f"data.path={name}") == name


def test_a_text_with_parentheses_needs_no_quotes():
    assert value_of("teacher.level_of_theory=wB97X/6-31G(d)") == "wB97X/6-31G(d)"


@pytest.mark.parametrize(
    "smarts",
    ["[CX4][CX4]-[OX2][#1]", "CC(=O)NC", "[C,N]C=CC", "F/C=C\\F", "[$(C=O):1]~[N;H1:2]!@[C:3]-[*:4]", "cOCc", "C#CCC"],
)
def test_a_pattern_needs_no_quotes_and_atoms_are_a_list(smarts):
    (argument,) = as_hydra_reads([f"dihedral={smarts}"])
    assert parse(argument).value() == smarts
    (argument,) = as_hydra_reads(["dihedral=[3,0,1,2]"])
    assert parse(argument).value() == [3, 0, 1, 2]


def test_other_arguments_stay_as_they_are():
    arguments = [
        "-m",
        "seed=0,1",
        "data.path=a.xyz,b.xyz",
        "run='a b'",
        "student.width=[1",
        "~logger",
        "ckpt_path=last",
    ]
    assert as_hydra_reads(arguments) == arguments


@pytest.mark.parametrize("option", sorted(FILES))
def test_the_home_folder_is_expanded_in_every_option_that_names_files(monkeypatch, option):
    monkeypatch.setenv("HOME", "/home/me")
    for value in ("~/a.xyz", '"~/a.xyz"', "'~/a.xyz'"):
        assert value_of(f"{option}={value}") == "/home/me/a.xyz"
    assert value_of(f"{option}=~/a.xyz,~/b.xyz") == ["/home/me/a.xyz", "/home/me/b.xyz"]


def test_only_a_tilde_at_the_beginning_is_the_home_folder():
    assert expand_home("data/~/a~1.xyz") == "data/~/a~1.xyz"
    assert expand_home("[~/a.model,~/b.model]") == os.path.expanduser(
        "[~/a.model,~/b.model]".replace("~", os.path.expanduser("~"))
    )
    assert expand_home(None) is None


@pytest.mark.parametrize(
    ("argument", "readable"),
    [
        ("preset=null", []),
        ("experiment=null", []),
        ("logger=null", ["logger=none"]),
        ("teacher=null", ["teacher=none"]),
        ("recipe=null", ["recipe=none"]),
        ("method=null", ["method=none"]),
        ("data=null", ["data=null"]),
        ("data.path=null", ["data.path=null"]),
        ("ckpt_path=null", ["ckpt_path=null"]),
    ],
)
def test_a_group_that_is_null_is_no_choice_or_the_choice_none(argument, readable):
    assert as_hydra_reads([argument]) == readable


def test_groups_without_a_default_may_be_null():
    assert is_optional("preset")
    assert not is_optional("data")

"""--help shows what a command is for, the choices of its groups, and every option with its comment."""

import re

import pytest

from jointkd.cli.config_tree import CONF
from jointkd.cli.help import comments_of, continuations, help_text
from jointkd.cli.resolvers import register

register()


@pytest.mark.parametrize("command", sorted(path.stem for path in CONF.glob("*.yaml")))
def test_the_help_of_every_command_shows_how_it_is_called_and_its_options(command):
    text = help_text(command, [])
    assert f"python -m jointkd.{command}" in text
    assert "Options, to be set as name=value:" in text
    assert "${groups:}" not in text
    assert max(map(len, text.splitlines())) <= 135


@pytest.mark.parametrize(
    "line",
    [
        "  shard_size: 16 # structures per file; a killed process loses at most the labels of so many",
        "  max_force: 50.0 # eV/Å; structures with a larger force component are quarantined",  # of data/_base.yaml
        "    length: angstrom # forces are in units.energy / units.length",  # of data/extxyz.yaml
    ],
)
def test_an_option_stands_beside_its_comment(line):
    assert line in help_text("train", []).splitlines()


def test_a_long_comment_stands_above_its_option():
    lines = help_text("train", []).splitlines()
    above = next(index for index, line in enumerate(lines) if line.startswith("  # structures are labelled together"))
    assert lines[above + 1] == "  batch_atoms: null"


def test_a_comment_may_go_on_below_its_option():
    text = "rows: fresh # in each epoch;\n  # fixed: the same\nother: 1\nnode: # has parts\n  part: 2\n# of all\n"
    assert continuations(text) == [["fixed: the same"], [], [], []]
    shown = help_text("train", [])
    assert re.search(r"# in the teacher; auto: .*constant:\n +# they keep it\n +trust: auto", shown)
    assert all(len(line) <= 120 for line in shown.splitlines() if "#" in line)


def test_the_help_follows_the_choices_and_values_that_are_given():
    text = help_text("train", ["student=gemnet_dt", "seed=7", "data=iodine"])
    assert "seed: 7" in text
    assert "jointkd.students.gemnet.GemNet" in text
    assert "expected_size: 11171 # structures; a difference of more than 2 % gives a warning" in text


def test_comments_are_those_of_the_files_that_a_file_is_based_on(tmp_path):
    (tmp_path / "_base.yaml").write_text("width: 1 # of the base\nnode:\n  inner: [1, 2] # inside\n")
    (tmp_path / "own.yaml").write_text("# a file\ndefaults:\n  - _base\n  - _self_\nnode: # of its own\n  other: a#b\n")
    assert dict(comments_of(tmp_path / "own.yaml", "group.")) == {
        "group.width": "of the base",
        "group.node.inner": "inside",
        "group.node": "of its own",
    }

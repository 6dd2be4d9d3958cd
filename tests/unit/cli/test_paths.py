"""Files that are to be read exist before a command begins, so that a misspelt one is refused at once."""

import subprocess
import sys

import pytest
from omegaconf import OmegaConf

import jointkd.cli.command  # noqa: F401  (registers the resolvers)
from jointkd.cli.options import check_overrides
from jointkd.cli.paths import check_files
from jointkd.errors import ConfigError, DataError


@pytest.mark.parametrize(
    "arguments",
    [
        ["data=extxyz", "data.path=nowhere/a.xyz"],
        ["data.split.path=nowhere/split.json"],
        ["student_weights=nowhere/a.safetensors"],
        ["ckpt_path=nowhere/last.ckpt"],
    ],
)
def test_a_file_that_does_not_exist_is_refused(arguments):
    with pytest.raises(DataError, match=f"{arguments[-1]} does not exist; check the path; relative ones begin at /"):
        check_overrides("train", arguments)


def test_a_missing_file_is_refused_before_torch_is_imported(tmp_path):
    code = (
        "import sys\nfrom jointkd.cli.command import command\n"
        "sys.argv = ['train', 'data=extxyz', 'data.path=nowhere.xyz']\n"
        "try: command('train')()\nfinally: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "False\n")
    assert done.stderr.startswith("DataError: data.path=nowhere.xyz does not exist")
    assert not list(tmp_path.iterdir())


def test_the_files_of_a_sweep_are_left_to_its_jobs():
    check_overrides("train", ["data=extxyz", "data.path=nowhere.xyz,neither.xyz"])


def test_files_that_exist_patterns_and_keywords_are_accepted(tmp_path):
    (tmp_path / "a.xyz").touch()
    for path in (str(tmp_path / "a.xyz"), str(tmp_path), "nowhere/*.xyz", "", None):
        check_files(OmegaConf.create({"data": {"path": path}}))
    check_files(OmegaConf.create({"ckpt_path": "last", "checkpoint": "best"}))


def test_several_runs_are_for_the_commands_that_compare_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    for command in ("accept", "export"):
        with pytest.raises(ConfigError, match=r"run=\['a', 'a'\] must be one path"):
            check_overrides(command, ["run=[a,a]"])
    for command, needed in (("scan", []), ("spectrum", ["structures=a"]), ("simulate", []), ("evaluate", [])):
        check_overrides(command, ["run=[a,a]", *needed])
        check_overrides(command, ["run=[a,'b/*']", *needed])
        with pytest.raises(DataError, match="run=b does not exist"):
            check_overrides(command, ["run=[a,b]", *needed])

"""The examples of CONTRIBUTING.md: added to a copy of the package, they keep their contracts and train together."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jointkd.cli.config_tree import CONF, PACKAGE
from tests.files import molecules

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`((?:jointkd|conf)/\S+)`\n\n```\w+\n(.*?)```$", TEXT, re.DOTALL | re.MULTILINE))
COMMANDS = re.findall(r"^    python -m jointkd\.(\w+) (.*)$", TEXT, re.MULTILINE)
KCAL_PER_MOL = 0.0433641  # eV
ONE_PROCESS = """
import runpy, sys
for line in sys.argv[1:]:
    command, *sys.argv[1:] = line.split()
    try:
        runpy.run_module(f"jointkd.{command}", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
"""


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the files of CONTRIBUTING.md, and an .npz file as that of the revised MD17 set."""
    folder = tmp_path_factory.mktemp("contributing")
    shutil.copytree(PACKAGE, folder / "jointkd", ignore=shutil.ignore_patterns("__pycache__", "conf"))
    shutil.copytree(CONF, folder / "conf")
    for name, content in FILES.items():
        assert not (folder / name).exists()
        (folder / name).write_text(content, encoding="utf-8")
    many = molecules(36)[1::3]  # methanol
    np.savez(
        folder / "rmd17_ethanol.npz",
        nuclear_charges=many[0].numbers,
        coords=np.stack([atoms.positions for atoms in many]),
        energies=np.array([atoms.info["REF_energy"] for atoms in many]) / KCAL_PER_MOL,
        forces=np.stack([atoms.arrays["REF_forces"] for atoms in many]) / KCAL_PER_MOL,
    )
    return folder


def run(folder: Path, *lines: str) -> str:
    """What commands print that are run one after the other in one process, each a line without `python -m jointkd.`."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", ONE_PROCESS, *lines]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_is_a_module_and_a_configuration_and_is_checked_and_trained():
    assert sorted(Path(name).suffix for name in FILES) == [".py"] * 4 + [".yaml"] * 4
    assert (
        sorted(command for command, _ in COMMANDS if command in ("contract", "train"))
        == ["contract"] * 4 + ["train"] * 4
    )


@pytest.mark.slow
def test_every_example_keeps_its_contract(copied):
    contracts = [f"{command} {options}" for command, options in COMMANDS if command == "contract"]
    out = run(copied, *contracts, "contract student=pairs student.conservative=false")
    totals = re.findall(r"^(\d+) passed, (\d+) failed", out, re.MULTILINE)
    assert len(totals) == 5
    assert all(int(passed) >= 8 and failed == "0" for passed, failed in totals)


@pytest.mark.slow
def test_all_examples_train_together(copied):
    out = run(
        copied,
        "train teacher=morse student=pairs data=rmd17 data.path=rmd17_ethanol.npz method=joint_net_force name=run "
        "student.conservative=false student.width=8 label.rows=4 label.eval_rows=2 trainer.max_epochs=1",
    )
    (summary,) = (copied / "outputs" / "run").rglob("summary.json")
    assert json.loads(summary.read_text())["test"]["force_mae_meV_per_A"] > 0
    assert "morse" in out

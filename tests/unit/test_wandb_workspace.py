"""The example that saves a workspace of Weights & Biases, with a local stand-in for the server."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger

from jointkd.training.callbacks.run_metrics import RunMetrics
from tests.toy import toy_data, toy_module, toy_trainer
from tests.wandb_server import wandb_server

SCRIPT = Path(__file__).parents[2] / "examples" / "wandb_workspace.py"


def run_script(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "team", "force-fields"]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """What a server got."""
    if importlib.util.find_spec("wandb_workspaces") is None:
        pytest.skip("wandb-workspaces is not installed")
    folder = tmp_path_factory.mktemp("wandb")
    with wandb_server() as server:
        done = run_script(WANDB_BASE_URL=server.url, WANDB_API_KEY="a" * 40, WANDB_DIR=str(folder), HOME=str(folder))
        assert done.returncode == 0, done.stderr
        assert f"{server.url}/team/force-fields?nw=saved" in done.stderr
        (view,) = server.views
    return view


def sections_of(view):
    return json.loads(view["spec"])["section"]["panelBankConfig"]["sections"]


def test_a_view_with_the_sections_is_saved_in_the_project(saved):
    assert (saved["entityName"], saved["projectName"], saved["displayName"]) == ("team", "force-fields", "jointkd")
    assert [section["name"] for section in sections_of(saved)] == ["train", "val", "perf", "test"]


def test_every_quantity_that_a_run_logs_is_in_the_section_of_its_name(saved, tmp_path):
    trainer = toy_trainer(
        tmp_path, 1, RunMetrics(), logger=CSVLogger(tmp_path, name=None, version="metrics"), log_every_n_steps=1
    )
    data, module = toy_data(tmp_path, batch_size=6), toy_module()
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data, verbose=False)
    names = (tmp_path / "metrics" / "metrics.csv").read_text().splitlines()[0].split(",")
    shown = {section["name"]: json.dumps(section["panels"]) for section in sections_of(saved)}
    for name in set(names) - {"epoch", "step"}:
        assert f'"{name}"' in shown[name.partition("/")[0]]


def test_test_errors_are_bars_by_method_and_curves_go_over_the_steps_of_the_optimiser(saved):
    by_name = {section["name"]: section["panels"] for section in sections_of(saved)}
    bars = [panel["config"] for panel in by_name["test"] if panel["viewType"] == "Bar Chart"]
    assert bars
    kept_as = "method.value.name"  # what the server calls the option method.name
    assert {(bar["groupBy"], bar["groupAgg"]) for bar in bars} == {(kept_as, "mean")}
    (browser,) = [panel["config"] for panel in by_name["test"] if panel["viewType"] == "Media Browser"]
    assert browser["mediaKeys"] == ["test/parity"]
    axes = {panel["config"]["xAxis"] for name in ("train", "val", "perf") for panel in by_name[name]}
    assert axes == {"trainer/global_step"}


def test_a_missing_package_is_one_line_with_the_remedy(tmp_path):
    (tmp_path / "wandb_workspaces.py").write_text("raise ModuleNotFoundError")
    failed = run_script(PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    assert failed.returncode == 1
    assert failed.stderr == "this needs wandb-workspaces; pip install wandb-workspaces\n"

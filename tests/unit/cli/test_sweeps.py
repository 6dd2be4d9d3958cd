"""Launchers of sweeps, and trainers with several processes."""

import importlib.util
import pickle

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from jointkd.cli.config_tree import CONF, list_groups
from jointkd.cli.options import check_overrides
from jointkd.cli.resolvers import run_folder
from jointkd.cli.sweeps import LAUNCHERS, as_single_run, installed, processes
from jointkd.errors import ConfigError, MissingExtra
from jointkd.evaluation.metrics import METRICS
from tests.configurations import composed


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_that_is_not_installed_is_refused(monkeypatch, launcher):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=rf"hydra/launcher={launcher} needs hydra_plugins.*'jointkd\[sweep\]'"):
        check_overrides("train", [f"hydra/launcher={launcher}"])


def test_a_module_of_a_missing_package_is_not_installed():
    assert not installed("no_such_package.of_no_such_module")
    assert installed("hydra.core")


def test_the_launcher_for_slurm_requests_one_gpu_for_each_run():
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    composed("hydra/launcher=slurm", "hydra.launcher.partition=gpu")
    launcher = HydraConfig.get().launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert (launcher.gpus_per_node, launcher.partition, launcher.tasks_per_node) == (1, "gpu", 1)


def test_the_trainer_for_slurm_uses_the_nodes_and_tasks_of_the_job(monkeypatch):
    monkeypatch.setenv("SLURM_NNODES", "2")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "4")
    trainer = composed("trainer=slurm").trainer
    assert (trainer.num_nodes, trainer.devices, trainer.strategy) == (2, 4, "ddp")


def test_the_tasks_of_a_slurm_step_share_one_folder(monkeypatch, tmp_path):
    for name, value in {"SLURM_NTASKS": "8", "SLURM_JOB_ID": "17", "SLURM_STEP_ID": "0"}.items():
        monkeypatch.setenv(name, value)
    assert run_folder(str(tmp_path), None) == "slurm-17.0"
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert run_folder(str(tmp_path), None).startswith("20")


def test_a_user_error_can_be_pickled():
    error = pickle.loads(pickle.dumps(ConfigError("seed=a", "give a number")))
    assert isinstance(error, ConfigError)
    assert pickle.loads(pickle.dumps(MissingExtra("a", "b", "mace"))).extra == "mace"
    assert (str(error), error.remedy) == ("ConfigError: seed=a; give a number", "give a number")


@pytest.mark.parametrize(
    ("trainer", "count"),
    [
        ({"devices": 1, "strategy": "ddp"}, 1),
        ({"devices": 4, "strategy": "ddp"}, 4),
        ({"devices": -1, "strategy": "ddp_find_unused_parameters_true"}, 2),
        ({"devices": 4, "strategy": "auto"}, 1),
        ({"devices": 4}, 1),
    ],
)
def test_processes_are_counted_if_ddp_starts_them_itself(trainer, count):
    assert processes(OmegaConf.create({"trainer": trainer})) == count
    assert processes(OmegaConf.create({})) == 1


def test_ddp_under_a_launcher_with_a_program_of_its_own_is_refused():
    config = OmegaConf.create({"trainer": {"devices": 2, "strategy": "ddp"}})
    with pytest.raises(
        ConfigError, match=r"trainer.devices=2 is not possible with this launcher .* leave hydra/launcher"
    ):
        with as_single_run(config):
            pass


def test_the_help_lists_no_groups_of_hydra():
    assert "hydra=" not in list_groups()
    assert "trainer=    ddp | default | slurm" in list_groups()


def test_the_sweep_of_weights_and_biases_is_table_1():
    sweep = yaml.safe_load((CONF / "sweep" / "atomic_energy.yaml").read_text())
    swept = sweep["parameters"]
    assert swept["weights.atomic_energy"]["values"] == [0, 1, 10, 20, 100, 1000]
    assert sweep["metric"]["name"].removeprefix("val/") in METRICS
    options = [word for word in sweep["command"] if "=" in word]
    options += [f"{name}={parameter['values'][-1]}" for name, parameter in swept.items()]
    check_overrides("train", options)
    assert composed(*options) == composed("experiment=table1", "weights.atomic_energy=1000", "logger=wandb")

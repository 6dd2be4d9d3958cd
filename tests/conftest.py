"""Fixtures that many tests share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: on small tensors more threads wait for each other

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

TINY_MACE = {
    "name": "tiny",
    "licence": "MIT",
    "level_of_theory": "none",
    "citation": "none",
    "free_atom_energies": {"1": -13.571964772646918, "6": -1030.5671648271828, "7": -1486.375, "8": -2043.933693071156},
    "architecture": {
        "r_max": 4.0,
        "num_bessel": 4,
        "num_polynomial_cutoff": 5,
        "max_ell": 1,
        "num_interactions": 2,
        "hidden_irreps": "4x0e",
        "mlp_irreps": "4x0e",
        "correlation": 2,
        "radial_mlp": [8],
        "avg_num_neighbors": 4.0,
        "scale": 2.0,
        "shift": -1.5,
    },
}


@pytest.fixture(scope="session")
def tiny_mace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of plain weights of a very small MACE for H, C, N, O with seeded random weights."""
    pytest.importorskip("mace")
    from jointkd.runtime import default_dtype
    from jointkd.teachers import mace, mace_model

    mace.import_mace()
    with torch.random.fork_rng(devices=[]), default_dtype(torch.float32):
        torch.manual_seed(0)
        module = mace_model.build(TINY_MACE)
    directory = tmp_path_factory.mktemp("tiny_mace")
    mace_model.save(module, TINY_MACE, directory)
    return directory


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data beside the checkout. Skips where it is not there."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not here ({folder})")
    return folder


class Result(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """command("train", *arguments): an entry point called in this process, in an empty working directory."""

    def call(name: str, *arguments: str) -> Result:
        from hydra.core.global_hydra import GlobalHydra
        from hydra.core.hydra_config import HydraConfig

        entry = importlib.import_module(f"jointkd.{name}")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", [f"{name}.py", *arguments])
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None  # as in a new process
        capfd.readouterr()
        status = 0
        try:
            entry.main()
        except SystemExit as left:
            status = int(left.code or 0)
        return Result(status, *capfd.readouterr())

    return call

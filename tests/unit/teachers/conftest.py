"""A very small MACE model in its formats, and the teachers from it."""

from typing import Any

import pytest
import torch

from jointkd.runtime import default_dtype
from jointkd.teachers import mace

OPTIONS: dict[str, Any] = {"name": "tiny", "dtype": "float64", "device": "cpu", "batch_atoms": 64}


@pytest.fixture(scope="module")
def teacher(tiny_mace):
    """The teacher from a directory of plain weights."""
    return mace.from_checkpoint(str(tiny_mace), **OPTIONS)


@pytest.fixture(scope="module")
def single(tiny_mace):
    """The same teacher in single precision."""
    return mace.from_checkpoint(str(tiny_mace), **{**OPTIONS, "dtype": "float32"})


@pytest.fixture(scope="module")
def model_file(tiny_mace, tmp_path_factory):
    """The same model in a file of mace-torch."""
    with default_dtype(torch.float32):
        module, _ = mace.mace_model.load(tiny_mace)
    file = tmp_path_factory.mktemp("pickled") / "tiny.model"
    torch.save(module, file)
    return file

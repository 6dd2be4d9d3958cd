"""Teachers from the small models. They need fairchem-core, which has its own environment."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

torch.set_num_threads(1)  # more threads slow such small models down

OPTIONS: dict[str, Any] = {"dtype": "float64", "device": "cpu", "batch_atoms": 64}


@pytest.fixture(scope="session")
def esen_file(tmp_path_factory) -> Path:
    """A small eSEN in the format of fairchem-core 1.10."""
    from tests.fairchem_env.checkpoints import write_1x

    return write_1x(tmp_path_factory.mktemp("esen") / "esen_30m_oam.pt")


@pytest.fixture(scope="session")
def esen(esen_file):
    """The teacher from that file."""
    from jointkd.teachers.esen import from_checkpoint

    return from_checkpoint("esen", checkpoint=str(esen_file), **OPTIONS)


@pytest.fixture(scope="session")
def file_2x(tmp_path_factory) -> Callable[[str], Path]:
    """file_2x(architecture): the file of a small model in the format of fairchem-core 2.x."""
    from tests.fairchem_env.checkpoints import write_2x

    folder = tmp_path_factory.mktemp("models")
    return cache(lambda architecture: write_2x(folder / f"{architecture}.pt", architecture))


@pytest.fixture(scope="session")
def teacher_2x(file_2x) -> Callable[[str], Any]:
    """teacher_2x(architecture): the teacher from that file, for the task omol."""
    from jointkd.teachers.fairchem import from_name

    return cache(lambda architecture: from_name(str(file_2x(architecture)), architecture, task="omol", **OPTIONS))


@pytest.fixture(scope="session")
def uma_file(file_2x) -> Path:
    return file_2x("uma")


@pytest.fixture(scope="session")
def uma(teacher_2x):
    return teacher_2x("uma")

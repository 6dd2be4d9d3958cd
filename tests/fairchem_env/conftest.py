"""Teachers of the small models. All of this needs fairchem-core, which is in an environment of its own."""

from pathlib import Path
from typing import Any

import pytest
import torch

torch.set_num_threads(1)  # the models are so small that threads only wait for each other

OPTIONS: dict[str, Any] = {"dtype": "float64", "device": "cpu", "batch_atoms": 64}


@pytest.fixture(scope="session")
def esen_file(tmp_path_factory) -> Path:
    """A small eSEN in the format of fairchem-core 1.10."""
    from tests.fairchem_env.checkpoints import write_1x

    return write_1x(tmp_path_factory.mktemp("esen") / "esen_30m_oam.pt")


@pytest.fixture(scope="session")
def esen(esen_file):
    """The teacher of that file."""
    from jointkd.teachers.esen import from_checkpoint

    return from_checkpoint("esen", checkpoint=str(esen_file), **OPTIONS)


@pytest.fixture(scope="session")
def uma_file(tmp_path_factory) -> Path:
    """A small model like UMA in the format of fairchem-core 2.x."""
    from tests.fairchem_env.checkpoints import write_2x

    return write_2x(tmp_path_factory.mktemp("uma") / "uma.pt")


@pytest.fixture(scope="session")
def uma(uma_file):
    """The teacher of that file, for molecules."""
    from jointkd.teachers.fairchem import from_name

    return from_name(str(uma_file), "uma", task="omol", **OPTIONS)

"""Structures are drawn at random, and broken replicas are named by the numbers that they have in their file."""

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import write
from omegaconf import OmegaConf

from jointkd.acceptance.accept import chosen
from jointkd.acceptance.options import AcceptanceOptions, StabilityLimits
from jointkd.acceptance.stability import stability
from jointkd.commands.accept import structures_of
from tests.unit.acceptance.toys import collapsing, model_of


def test_broken_replicas_have_the_numbers_of_their_structures():
    structures = [Atoms("I2", [[0, 0, 0], [0, 0, 2.6 + 0.01 * number]]) for number in range(60)]
    few = chosen(structures, AcceptanceOptions())
    assert len(few) == 36
    numbers = [round((atoms.positions[1, 2] - 2.6) / 0.01) for atoms in few]
    assert len(set(numbers)) == 36
    assert numbers != sorted(numbers)
    assert numbers == [round((atoms.positions[1, 2] - 2.6) / 0.01) for atoms in chosen(structures, AcceptanceOptions())]
    limits = StabilityLimits(replicas=2, time=0.2, timestep=2.0)
    (result,) = stability(model_of(collapsing), few[:2], {}, limits, seed=0)
    assert sorted(each.structure for each in result.watched) == sorted(numbers[:2])
    assert any(f"structure {number} after" in result.gate.detail for number in numbers[:2])
    assert np.isfinite(result.gate.value)


def test_structures_have_the_numbers_of_their_file_also_where_one_is_left_out(tmp_path):
    write(tmp_path / "some.xyz", [bulk("Cu"), bulk("Cu", cubic=True)], format="extxyz")
    starts, _ = structures_of(OmegaConf.create({"structures": str(tmp_path / "some.xyz")}), tmp_path)
    assert [atoms.info["structure"] for atoms in chosen(starts, AcceptanceOptions())] == [1]

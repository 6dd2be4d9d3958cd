"""A part of a structure has the energies of its atoms in the whole, and parts sum to the whole."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from jointkd.deploy.model import load_model
from jointkd.deploy.part import PartEvaluator, part_of
from jointkd.deploy.skin import NearPairs
from jointkd.errors import ConfigError
from tests.uncertain import with_uncertainty
from tests.unit.deploy.test_ase import CONSERVATIVE, GEMNET, PAINN, student_file

LONG = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat((12, 1, 1))  # 68 Å
LONG.rattle(0.1, seed=2)
CONFIGS = {
    "painn": CONSERVATIVE[0],
    "gemnet": GEMNET | {"conservative": True},
    "capped": CONSERVATIVE[0] | {"max_neighbors": 6},
    "repulsive": CONSERVATIVE[0] | {"repulsion": True},
    "force head": PAINN,
}


def evaluator(folder, config=CONSERVATIVE[0]) -> PartEvaluator:
    return PartEvaluator(load_model(with_uncertainty(student_file(folder, config)), "cpu", "float64", None))


def given(atoms: Atoms) -> tuple[np.ndarray, ...]:
    return atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc


@pytest.mark.parametrize("name", CONFIGS)
def test_parts_sum_to_the_whole(tmp_path, name):
    part = evaluator(tmp_path, CONFIGS[name])
    whole = part(*given(LONG))
    forces, virial = np.zeros_like(whole.forces), np.zeros((3, 3))
    for own in np.arange(len(LONG)) // 24 == np.arange(4)[:, None]:
        found = part.of_part(*given(LONG), own)
        assert own.sum() < part.computed < len(LONG)
        np.testing.assert_allclose(found.atomic_energies, whole.atomic_energies[own], atol=1e-12)
        np.testing.assert_allclose(found.force_uncertainty, whole.force_uncertainty[own], rtol=1e-9)
        forces += found.forces
        virial += found.virial
    np.testing.assert_allclose(forces, whole.forces, atol=1e-12)
    np.testing.assert_allclose(virial, whole.virial, atol=1e-11)


def test_a_part_has_no_atom_on_which_nothing_depends():
    chain = NearPairs(np.arange(9), np.arange(1, 10), np.arange(27.0).reshape(9, 3))
    own = np.arange(10) == 4
    atoms, pairs = part_of(chain, own, 2)
    assert atoms.tolist() == [2, 3, 4, 5, 6]
    assert (pairs.source.tolist(), pairs.target.tolist()) == ([0, 1, 2, 3], [1, 2, 3, 4])
    np.testing.assert_array_equal(pairs.vectors, chain.vectors[2:6])
    assert part_of(chain, own, 1).atoms.tolist() == [3, 4, 5]


def test_no_atoms_have_no_part(tmp_path):
    found = evaluator(tmp_path, CONFIGS["gemnet"]).of_part(*given(LONG), np.zeros(len(LONG), dtype=bool))
    assert found.atomic_energies.shape == found.force_uncertainty.shape == (0,)
    assert (np.abs(found.forces).max(), np.abs(found.virial).max()) == (0, 0)


@pytest.mark.parametrize("kind", ["a package", "a student without hops"])
def test_what_has_no_parts_is_refused(tmp_path, kind):
    model = load_model(student_file(tmp_path, CONSERVATIVE[0]), "cpu", "float64", None)
    student = None if kind == "a package" else object()
    with pytest.raises(ConfigError, match=f"{kind} cannot be divided among MPI ranks; give the file of a PaiNN or"):
        PartEvaluator(replace(model, student=student))

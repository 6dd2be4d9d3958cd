"""MACE teachers: energies, forces and Hessian rows, batches, precision, heads, and side effects."""

import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from jointkd.errors import TeacherError
from jointkd.files.foreign_loads import VARIABLE
from jointkd.teachers import mace
from jointkd.teachers.base import log_identity
from tests.conftest import TINY_MACE
from tests.labelled import agree, frame_of, labels_of, moved
from tests.structures import ETHANOL, WATER, rattled
from tests.unit.teachers.conftest import OPTIONS

pytest.importorskip("mace")

NITRIDE = rattled(bulk("CN", "zincblende", a=3.6, cubic=True), 3)


@pytest.fixture(scope="module")
def two_headed_file(tmp_path_factory):
    """A model with two heads, for two levels of theory."""
    from e3nn.o3 import Irreps
    from mace.modules import ScaleShiftMACE, interaction_classes

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = ScaleShiftMACE(
            r_max=4.0,
            num_bessel=4,
            num_polynomial_cutoff=5,
            max_ell=1,
            interaction_cls=interaction_classes[mace.mace_model.BLOCK],
            interaction_cls_first=interaction_classes[mace.mace_model.BLOCK],
            num_interactions=2,
            num_elements=3,
            hidden_irreps=Irreps("4x0e"),
            MLP_irreps=Irreps("4x0e"),
            atomic_energies=np.array([[-13.0, -1030.0, -2043.0], [-12.0, -1020.0, -2000.0]]),
            avg_num_neighbors=4.0,
            atomic_numbers=[1, 6, 8],
            correlation=2,
            gate=torch.nn.functional.silu,
            radial_MLP=[8],
            atomic_inter_scale=[1.0, 2.0],
            atomic_inter_shift=[0.0, -1.0],
            heads=["pbe", "r2scan"],
        )
    file = tmp_path_factory.mktemp("pickled") / "two_headed.model"
    torch.save(module, file)
    return file


def calculator_of(file: Path, **options: str) -> Any:
    """mace-torch's own calculator."""
    from mace.calculators import MACECalculator

    model = torch.load(file, weights_only=False)
    return MACECalculator(models=model, device="cpu", default_dtype="float64", **options)


@pytest.mark.parametrize("precision", ["teacher", "single"])
@pytest.mark.parametrize("atoms", [ETHANOL, NITRIDE], ids=["molecule", "crystal"])
def test_atomic_energies_and_free_atoms_sum_to_the_energy(request, atoms, precision):
    label = labels_of(request.getfixturevalue(precision), atoms)
    free = sum(TINY_MACE["free_atom_energies"][str(z)] for z in atoms.numbers)
    assert abs(label.atomic_energies.sum() + free - label.energy) < 1e-10
    assert abs(label.atomic_energies).max() < 20


@pytest.mark.parametrize("atoms", [ETHANOL, NITRIDE], ids=["molecule", "crystal"])
def test_forces_are_the_negative_derivatives_of_the_energy(teacher, atoms):
    forces = labels_of(teacher, atoms).forces.reshape(-1)
    step = 1e-3
    for row in range(0, 3 * len(atoms), 2):
        one, two = (
            labels_of(teacher, moved(atoms, row, n * step)).atomic_energies.sum()
            - labels_of(teacher, moved(atoms, row, -n * step)).atomic_energies.sum()
            for n in (1, 2)
        )
        slope = (8 * one - two) / (12 * step)
        assert abs(forces[row] + slope) < 1e-7 * abs(forces).max()


@pytest.mark.parametrize("atoms", [ETHANOL, NITRIDE], ids=["molecule", "crystal"])
def test_hessian_rows_are_the_negative_derivatives_of_the_forces(teacher, atoms):
    rows = labels_of(teacher, atoms, range(3 * len(atoms))).hessian_rows
    step = 1e-3
    for row in range(0, 3 * len(atoms), 2):
        one, two = (
            labels_of(teacher, moved(atoms, row, n * step)).forces
            - labels_of(teacher, moved(atoms, row, -n * step)).forces
            for n in (1, 2)
        )
        slope = (8 * one - two) / (12 * step)
        np.testing.assert_allclose(rows[row], -slope, rtol=0, atol=1e-6 * abs(rows).max())


@pytest.mark.parametrize("atoms", [ETHANOL, NITRIDE], ids=["molecule", "crystal"])
def test_a_full_hessian_is_symmetric_and_invariant_to_translation(teacher, atoms):
    rows = labels_of(teacher, atoms, range(3 * len(atoms))).hessian_rows
    size = 3 * len(atoms)
    assert abs(rows).max() > 1
    np.testing.assert_allclose(rows.reshape(size, size), rows.reshape(size, size).T, rtol=0, atol=1e-12)
    np.testing.assert_allclose(rows.sum(axis=1), 0, rtol=0, atol=1e-12)


def test_energies_forces_and_hessian_are_those_of_mace_torch_itself(model_file):
    teacher = mace.from_checkpoint(str(model_file), **OPTIONS)
    calculator = calculator_of(model_file)
    for original in (ETHANOL, NITRIDE):
        label = labels_of(teacher, original, range(3 * len(original)))
        atoms = original.copy()
        atoms.calc = calculator
        assert abs(label.energy - atoms.get_potential_energy()) < 1e-9
        np.testing.assert_allclose(label.forces, atoms.get_forces(), rtol=0, atol=1e-11)
        np.testing.assert_allclose(label.atomic_energies, calculator.results["node_energy"], rtol=0, atol=1e-9)
        np.testing.assert_allclose(label.hessian_rows, calculator.get_hessian(atoms), rtol=0, atol=1e-11)


def test_a_file_and_a_directory_of_the_same_weights_give_the_same_labels(teacher, model_file):
    of_file = mace.from_checkpoint(str(model_file), **OPTIONS)
    agree(
        labels_of(of_file, ETHANOL, [0, 5]), labels_of(teacher, ETHANOL, [0, 5]), 1e-4
    )  # a file keeps buffers in float32
    assert of_file.identity.checkpoint != teacher.identity.checkpoint


def test_labels_do_not_depend_on_the_batch(teacher):
    many = [ETHANOL, NITRIDE, WATER, Atoms("O", [[1.0, 2.0, 3.0]])]
    rows = [np.array([26, 3, 7]), np.arange(24), np.array([], dtype=int), np.array([1])]
    together = teacher.label([frame_of(atoms) for atoms in many], rows)
    for atoms, ids, label in zip(many, rows, together, strict=True):
        assert label.hessian_rows.shape == (len(ids), len(atoms), 3)
        agree(label, labels_of(teacher, atoms, ids), 1e-12)


def test_an_isolated_atom_has_an_energy_and_no_forces(teacher):
    label = labels_of(teacher, Atoms("O", [[1.0, 2.0, 3.0]]), range(3))
    assert not label.forces.any()
    assert not label.hessian_rows.any()
    assert np.isfinite(label.energy)


def test_labels_do_not_change_under_translation(teacher):
    away = ETHANOL.copy()
    away.positions += [200.0, -120.0, 70.0]
    agree(labels_of(teacher, away, range(27)), labels_of(teacher, ETHANOL, range(27)), 1e-10)


def test_labels_of_a_crystal_do_not_depend_on_the_images_of_its_atoms(teacher):
    shifted = NITRIDE.copy()
    shifted.positions[2] += NITRIDE.cell[0] - 2 * NITRIDE.cell[1]
    shifted.positions += [0.3, 0.1, -0.2]
    agree(labels_of(teacher, shifted, range(24)), labels_of(teacher, NITRIDE, range(24)), 1e-10)


def test_atoms_of_a_crystal_interact_with_periodic_images(teacher):
    cluster = NITRIDE.copy()
    cluster.pbc = False
    assert abs(labels_of(teacher, NITRIDE).energy - labels_of(teacher, cluster).energy) > 0.1


def test_float32_is_close_to_float64_in_spite_of_large_free_atom_energies(single, teacher):
    label = labels_of(single, ETHANOL, range(27))
    assert label.forces.dtype == label.hessian_rows.dtype == np.float32
    agree(label, labels_of(teacher, ETHANOL, range(27)), 2e-5)


def test_coincident_atoms_affect_only_their_own_structure(teacher):
    spoilt = WATER.copy()
    spoilt.positions[1] = spoilt.positions[0]
    bad, good = teacher.label([frame_of(spoilt), frame_of(ETHANOL)], [np.arange(9), np.arange(27)])
    assert not bad.finite()
    agree(good, labels_of(teacher, ETHANOL, range(27)), 1e-12)


def test_an_unknown_element_is_refused(teacher):
    with pytest.raises(TeacherError, match=r"tiny does not know I .*knows H C N O"):
        labels_of(teacher, Atoms("HI", [[0, 0, 0], [0, 0, 1.6]]))


def test_the_identity_has_elements_licence_and_versions(teacher, single):
    assert teacher.identity.elements == (1, 6, 7, 8)
    assert teacher.identity.licence == "MIT"
    assert teacher.identity.versions["mace-torch"]
    assert single.identity == replace(teacher.identity, dtype="float32")


def test_loading_and_labelling_have_no_output_and_no_global_side_effects(tiny_mace):
    script = f"""
import os, numpy as np, torch
from jointkd.structures.frame import Frame
from jointkd.files.foreign_loads import VARIABLE
from jointkd.teachers import mace
torch.manual_seed(5)
expected = torch.rand(3)
torch.manual_seed(5)
teacher = mace.from_checkpoint({str(tiny_mace)!r}, **{OPTIONS!r})
frame = Frame(np.array([8, 1, 1]), np.array([[0, 0, 0], [1, 0, 0], [0, 1.0, 0]]))
for _ in range(2):
    assert teacher.label([frame], [np.arange(9)])[0].finite()
assert torch.equal(torch.rand(3), expected)
assert torch.get_default_dtype() == torch.float32
assert {VARIABLE!r} not in os.environ
import e3nn
assert e3nn.get_optimization_defaults()["jit_script_fx"]
assert not any(isinstance(part, torch.jit.ScriptModule) for part in teacher.module.modules())
"""
    clean = {name: value for name, value in os.environ.items() if name != VARIABLE}  # the import above has set it here
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=clean)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.parametrize("head", [None, "ccsd"])
def test_one_of_several_heads_must_be_chosen(two_headed_file, head):
    with pytest.raises(TeacherError, match=f"teacher.head={head or 'null'} must be a head of tiny") as caught:
        mace.from_checkpoint(str(two_headed_file), **OPTIONS, head=head)
    assert "pbe, r2scan" in caught.value.remedy


def test_an_unknown_head_of_a_model_with_one_head_is_refused(teacher, tiny_mace):
    with pytest.raises(TeacherError, match=r"teacher\.head=pbe must be a head"):
        mace.teacher(teacher.module, tiny_mace, **OPTIONS, head="pbe")


def test_labels_are_those_of_the_chosen_head_with_its_own_free_atoms(two_headed_file):
    energies = []
    for head, hydrogen in (("pbe", -13.0), ("r2scan", -12.0)):
        teacher = mace.from_checkpoint(str(two_headed_file), **OPTIONS, head=head)
        atoms = WATER.copy()
        atoms.calc = calculator_of(two_headed_file, head=head)
        label = labels_of(teacher, atoms)
        assert abs(label.energy - atoms.get_potential_energy()) < 1e-9
        np.testing.assert_allclose(label.forces, atoms.get_forces(), rtol=0, atol=1e-11)
        assert teacher.identity.free_atom_energies[1] == hydrogen
        assert teacher.identity.fingerprint()["head"] == head
        energies.append(label.atomic_energies.sum())
    assert abs(energies[0] - energies[1]) > 0.1


@pytest.mark.parametrize(("licence", "warned"), [("ASL (non-commercial)", True), ("MIT", False), ("", False)])
def test_a_licence_that_forbids_commercial_use_causes_a_warning(teacher, caplog, licence, warned):
    log_identity(replace(teacher.identity, licence=licence))
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == warned
    assert all("NOT FOR COMMERCIAL USE" in message for message in warnings)


CHAIN = [[3.0, 0, 0], [0, 60.0, 0], [0, 0, 60.0]]
LAYER = [[3.4, 0, 0], [0.6, 3.6, 0], [0, 0, 60.0]]


@pytest.mark.parametrize(("cell", "periodic"), [(CHAIN, 1), (LAYER, 2)], ids=["chain", "layer"])
@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0), (2, 0, 1)], ids=["as it is", "turned", "turned again"])
def test_chains_and_layers_along_every_axis_have_the_labels_of_a_crystal_with_vacuum(teacher, cell, periodic, axes):
    positions = WATER.positions[:, axes]
    whole = Atoms(WATER.numbers, positions, cell=np.array(cell)[:, axes], pbc=True)
    partly = Atoms(WATER.numbers, positions, cell=whole.cell, pbc=[True, periodic == 2, False])
    partly.cell[periodic:] = 0.0
    agree(labels_of(teacher, partly, range(9)), labels_of(teacher, whole, range(9)), 1e-10)

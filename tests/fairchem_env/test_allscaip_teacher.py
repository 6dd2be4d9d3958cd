"""AllScAIP: attention over nearest neighbours, energies with jumps, and parts in float32."""

import logging

import numpy as np
import pytest
from ase import Atoms

from jointkd.errors import TeacherError
from jointkd.labelling.loop import label
from jointkd.labels.store import LabelStore
from jointkd.teachers.fairchem import from_name
from tests.fairchem_env.checkpoints import write_2x
from tests.fairchem_env.conftest import OPTIONS
from tests.labelled import agree, frame_of, labels_of, moved
from tests.structures import ETHANOL, SALT, WATER

pytest.importorskip("fairchem.core", reason="fairchem-core is not installed: make env-fairchem")


@pytest.fixture
def allscaip(teacher_2x):
    return teacher_2x("allscaip")


def teacher_of(path, **options):
    return from_name(str(path), "allscaip", task="omol", **{**OPTIONS, **options})


def test_labels_are_what_fairchem_core_predicts(allscaip, file_2x):
    from fairchem.core import FAIRChemCalculator
    from fairchem.core.units.mlip_unit import load_predict_unit
    from fairchem.core.units.mlip_unit.api.inference import InferenceSettings

    settings = InferenceSettings(base_precision_dtype="float32")  # fairchem-core cannot run these in float64
    unit = load_predict_unit(file_2x("allscaip"), settings, device="cpu")
    for charge, spin in ((0, 1), (-1, 2)):
        atoms = Atoms(ETHANOL.numbers, ETHANOL.positions, info={"charge": charge, "spin": spin})
        atoms.calc = FAIRChemCalculator(unit, task_name="omol")
        labels = labels_of(allscaip, ETHANOL, charge=charge, spin=spin)
        assert labels.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
        assert labels.forces == pytest.approx(atoms.get_forces(), abs=1e-6)


def test_float32_labels_are_close_to_those_in_float64(allscaip, file_2x):
    single = teacher_of(file_2x("allscaip"), dtype="float32")
    for atoms in (ETHANOL, SALT):
        labels = labels_of(single, atoms, [0, 5])
        assert labels.hessian_rows.dtype == np.float32
        agree(labels, labels_of(allscaip, atoms, [0, 5]), 2e-6)


def test_rows_are_correct_with_all_options_of_the_architecture(tmp_path):
    masks = {"use_freq_mask": True, "use_sincx_mask": True, "freequency_list": [4, 2, 2]}
    teacher = teacher_of(write_2x(tmp_path / "masks.pt", "allscaip", regress_stress=True, **masks))
    for atoms in (WATER, SALT):
        (row,) = labels_of(teacher, atoms, [4]).hessian_rows
        ahead, behind = (labels_of(teacher, moved(atoms, 4, sign * 1e-4)) for sign in (1, -1))
        np.testing.assert_allclose(row, -(ahead.forces - behind.forces) / 2e-4, rtol=0, atol=1e-5 * np.abs(row).max())


def test_an_isolated_atom_has_no_forces_and_no_hessian(allscaip):
    labels = labels_of(allscaip, Atoms("O"), [0, 1, 2])
    assert np.isfinite(labels.energy)
    assert not labels.forces.any()
    assert not labels.hessian_rows.any()


def test_energies_that_are_means_over_atoms_fail_the_check(tmp_path):
    file = write_2x(tmp_path / "mean.pt", "allscaip", energy_reduce="mean")
    with pytest.raises(TeacherError, match="fails its check: its atomic energies do not sum to its energy"):
        teacher_of(file)


def with_an_atom_at(distance: float) -> Atoms:
    return Atoms("OHH", [[0, 0, 0], [0.6, 0.7, 0], [0.5, 0.4, distance]])


@pytest.fixture
def edge(allscaip) -> float:
    """The distance in Å at which an atom ceases to be a neighbour, by bisection for the jump of the energy."""

    def energy(distance: float) -> float:
        return labels_of(allscaip, with_an_atom_at(distance)).energy

    near, far = 5.0, 6.5
    grid = np.linspace(near, far, 31)
    energies = [energy(distance) for distance in grid]
    jump = int(np.abs(np.diff(energies)).argmax())
    near, far = grid[jump], grid[jump + 1]
    inner, outer = energies[jump], energies[jump + 1]
    while far - near > 1e-6:
        middle = (near + far) / 2
        value = energy(middle)
        near, far = (middle, far) if abs(value - inner) < abs(value - outer) else (near, middle)
    return float(far)


def test_jumps_of_the_energy_do_not_disturb_the_comparison_with_finite_differences(allscaip, edge, tmp_path):
    frames = [frame_of(with_an_atom_at(edge + 2e-4))]
    store = LabelStore.create(tmp_path, allscaip.identity, {"rows": 9})
    label(frames, {frames[0].key: np.arange(9)}, allscaip, store)
    assert len(store) == 1


def test_a_warning_says_that_energies_jump_and_depend_on_the_orientation(allscaip, file_2x, edge, caplog):
    with caplog.at_level(logging.WARNING, "jointkd"):
        teacher_of(file_2x("allscaip"))
    assert (
        "its energies jump where an atom enters a list of nearest neighbours, and change under rotation" in caplog.text
    )
    turned = ETHANOL.copy()
    turned.rotate(47, (0.3, 0.5, 0.8))
    assert abs(labels_of(allscaip, turned).energy - labels_of(allscaip, ETHANOL).energy) > 1e-3
    inner, outer = (labels_of(allscaip, with_an_atom_at(edge + side * 1e-5)) for side in (-1, 1))
    assert abs(inner.energy - outer.energy) > 100 * 2e-5 * np.abs(inner.forces).max()

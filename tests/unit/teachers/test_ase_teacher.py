"""ASE calculators as teachers: energies, forces, rows by finite differences, and failing structures."""

import logging

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from jointkd.errors import TeacherError
from jointkd.labelling.loop import label
from jointkd.labels.directions import draw_probes
from jointkd.labels.store import LabelStore
from jointkd.teachers import ase
from tests.calculators import Springs, options_of
from tests.files import frames
from tests.labelled import labels_of
from tests.teachers import SETTINGS, along, rows_of

LJ = "ase.calculators.lj.LennardJones"
WATERS = {"sigma": 0.9, "epsilon": 0.5, "rc": 6.0, "smooth": True}
COPPER = bulk("Cu", cubic=True)
COPPER.rattle(0.1, seed=1)
ETHANOL = molecule("CH3CH2OH")
ETHANOL.rattle(0.05, seed=1)


HERE = "tests.calculators"


def calculated(atoms: Atoms, calculator: Calculator) -> Atoms:
    atoms = atoms.copy()
    atoms.calc = calculator
    return atoms


@pytest.mark.parametrize(
    ("path", "options", "atoms", "calculator"),
    [
        ("ase.calculators.emt.EMT", None, COPPER, EMT()),
        (LJ, WATERS, ETHANOL, LennardJones(**WATERS)),
        (LJ, {"sigma": 2.3, "rc": 6.0}, COPPER, LennardJones(sigma=2.3, rc=6.0)),
    ],
    ids=["EMT, crystal", "Lennard-Jones, molecule", "Lennard-Jones, crystal"],
)
def test_energies_and_forces_are_those_of_the_calculator(path, options, atoms, calculator):
    labels = labels_of(ase.from_calculator(path, "c", options), atoms)
    own = calculated(atoms, calculator)
    assert labels.energy == own.get_potential_energy()
    np.testing.assert_array_equal(labels.forces, own.get_forces())
    np.testing.assert_array_equal(labels.atomic_energies, own.get_potential_energies())
    assert labels.atomic_energies.sum() == pytest.approx(labels.energy, abs=1e-10)
    assert labels.forces.any()


def test_the_energy_is_the_one_that_forces_belong_to():
    smeared, springs = (
        labels_of(ase.from_calculator(f"{HERE}.{name}", "c"), ETHANOL) for name in ("Smeared", "Springs")
    )
    assert smeared.energy == springs.energy


def test_rows_of_springs_are_those_of_their_exact_hessian():
    labels = labels_of(ase.from_calculator(f"{HERE}.Springs", "springs"), ETHANOL, range(27))
    number = len(ETHANOL)
    exact = np.kron(Springs.stiffness * (number * np.eye(number) - 1), np.eye(3))
    np.testing.assert_allclose(labels.hessian_rows.reshape(27, 27), exact, rtol=0, atol=1e-10)


def test_products_with_probes_are_those_of_the_exact_hessian_of_springs():
    probes = draw_probes("ab" * 16, len(ETHANOL), 3, seed=0)
    labels = labels_of(ase.from_calculator(f"{HERE}.Springs", "springs"), ETHANOL, probes)
    number = len(ETHANOL)
    exact = np.kron(Springs.stiffness * (number * np.eye(number) - 1), np.eye(3)).reshape(27, number, 3)
    np.testing.assert_allclose(labels.hessian_rows, along(exact, probes), rtol=0, atol=1e-10)


@pytest.mark.parametrize("atoms", [COPPER, Atoms("H", [[1.0, 2, 3]])], ids=["crystal", "lone atom"])
def test_rows_agree_with_finite_differences_of_energies(atoms):
    teacher = ase.from_calculator("ase.calculators.emt.EMT", "emt", displacement=1e-3)
    ids = np.array([2, 0, 1]) if len(atoms) == 1 else np.array([7, 0, 4])
    labels = labels_of(teacher, atoms, ids)

    def energy(*steps: tuple[int, float]) -> float:
        moved = calculated(atoms, EMT())
        for row, step in steps:
            moved.positions[row // 3, row % 3] += step
        return moved.get_potential_energy()

    h = 2e-3
    for k, row in enumerate(ids):
        for column in range(3 * len(atoms)):
            signs = [(a, b) for a in (1, -1) for b in (1, -1)]
            expected = sum(a * b * energy((row, a * h), (column, b * h)) for a, b in signs) / (4 * h * h)
            assert labels.hessian_rows[k].ravel()[column] == pytest.approx(expected, abs=2e-3)


def test_rows_of_a_potential_are_symmetric_and_sum_to_zero():
    rows = labels_of(ase.from_calculator("ase.calculators.emt.EMT", "emt"), COPPER, range(12)).hessian_rows
    hessian = rows.reshape(12, 12)
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=1e-4)
    np.testing.assert_allclose(rows.sum(1), 0, rtol=0, atol=1e-9)
    assert np.linalg.eigvalsh(hessian + hessian.T)[3] > 0.1  # positive curvature: the sign is right


def test_labels_do_not_depend_on_what_was_labelled_before():
    pytest.importorskip("tblite", reason="pip install 'jointkd[xtb]'")
    teacher = ase.from_calculator("tblite.ase.TBLite", "xtb", {"verbosity": 0})
    other = ETHANOL.copy()
    other.rattle(0.2, seed=4)
    first = labels_of(teacher, ETHANOL, [3])
    labels_of(teacher, other, [0])
    again = labels_of(teacher, ETHANOL, [3])
    # several threads sum in any order; a calculation that starts from earlier results differs by more
    assert first.energy == pytest.approx(again.energy, abs=1e-9)
    for name, error in (("atomic_energies", 1e-9), ("forces", 1e-9), ("hessian_rows", 1e-6)):
        np.testing.assert_allclose(getattr(first, name), getattr(again, name), rtol=0, atol=error)


def test_the_xtb_teacher_gives_accurate_rows_and_no_atomic_energies():
    pytest.importorskip("tblite", reason="pip install 'jointkd[xtb]'")
    teacher = ase.from_calculator(**options_of("xtb"))
    labels = labels_of(teacher, ETHANOL, range(27))
    hessian = labels.hessian_rows.reshape(27, 27)
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=2e-3)
    np.testing.assert_allclose(labels.hessian_rows.sum(1), 0, rtol=0, atol=1e-6)
    assert labels.atomic_energies.shape == (0,)
    assert not teacher.identity.atomic_energies
    assert teacher.identity.elements == tuple(range(1, 87))
    assert (teacher.identity.level_of_theory, teacher.identity.versions.keys()) == ("GFN2-xTB", {"ase", "tblite"})


def test_atomic_energies_of_xtb_are_relative_to_free_atoms_and_cause_one_warning(caplog):
    pytest.importorskip("tblite", reason="pip install 'jointkd[xtb]'")
    free = {"H": -10.7, "C": -48.8, "O": -102.6}
    teacher = ase.from_calculator("tblite.ase.TBLite", "xtb", {"verbosity": 0}, free_atom_energies=free)
    labels, _ = labels_of(teacher, ETHANOL), labels_of(teacher, ETHANOL)
    total = labels.atomic_energies.sum() + sum(free[symbol] for symbol in ETHANOL.symbols)
    assert total == pytest.approx(labels.energy, abs=1e-9)
    assert teacher.identity.elements == (1, 6, 8)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "poor targets" in warnings[0]


def test_atomic_energies_are_left_out_if_not_requested_or_not_implemented(caplog):
    for teacher in (
        ase.from_calculator(LJ, "lj", WATERS, atomic_energies=False),
        ase.from_calculator(f"{HERE}.Springs", "springs"),
    ):
        labels = labels_of(teacher, ETHANOL)
        assert not teacher.identity.atomic_energies
        assert labels.atomic_energies.shape == (0,)
        assert labels.finite()
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


def test_a_structure_on_which_the_calculator_fails_is_recorded_and_the_others_are_labelled(tmp_path, caplog):
    teacher = ase.from_calculator(f"{HERE}.FailsOnOxygen", "springs")
    some = frames(9)
    store = LabelStore.create(tmp_path / "labels", teacher.identity, SETTINGS)
    label(some, rows_of(some), teacher, store, shard_size=4)
    with_oxygen = {frame.key for frame in some if 8 in frame.numbers}
    assert set(store.failed) == with_oxygen
    assert store.keys() == {frame.key for frame in some} - with_oxygen
    assert "frame 0: springs fails (no convergence)" in caplog.messages


def test_a_calculator_that_never_succeeds_ends_the_run_without_failed_structures(tmp_path):
    teacher = ase.from_calculator(f"{HERE}.NeverWorks", "springs")
    store = LabelStore.create(tmp_path / "labels", teacher.identity, SETTINGS)
    with pytest.raises(TeacherError, match=r"cannot calculate anything \(no licence file\)"):
        label(frames(3), rows_of(frames(3)), teacher, store)
    assert not store.failed


def test_a_structure_with_coincident_atoms_fails_alone():
    pytest.importorskip("tblite", reason="pip install 'jointkd[xtb]'")
    spoilt = ETHANOL.copy()
    spoilt.positions[1] = spoilt.positions[0]
    teacher = ase.from_calculator("tblite.ase.TBLite", "xtb", {"verbosity": 0})
    assert not labels_of(teacher, spoilt, [0]).finite()
    assert labels_of(teacher, ETHANOL, [0]).finite()

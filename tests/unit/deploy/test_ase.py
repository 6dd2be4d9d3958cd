"""Students as ASE calculators."""

import re
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.md.verlet import VelocityVerlet
from ase.vibrations import VibrationsData

from jointkd.deploy.ase import JointKD
from jointkd.deploy.committee import Committee
from jointkd.deploy.loaded import load
from jointkd.deploy.model import load_model
from jointkd.deploy.replicas import ReplicaCalculator
from jointkd.errors import ConfigError, DataError
from jointkd.labelling.checker import LabelChecker
from jointkd.structures.columns import composition
from jointkd.students import student_file as student_file_module
from jointkd.students.derivatives import predict
from jointkd.students.painn import PaiNN
from jointkd.students.student_file import SavedStudent, build, read_student, save_student
from jointkd.teachers.ase import from_calculator
from tests.labelled import frame_of, labels_of
from tests.structures import ETHANOL, PEROVSKITE, TRICLINIC, batch_of
from tests.uncertain import uncertainty_of, with_uncertainty

FREE = {1: -13.0, 6: -1030.0, 8: -2040.0, 11: -4400.0, 17: -12500.0, 22: -23000.0, 38: -800.0}
PAINN = {"_target_": "jointkd.students.painn.PaiNN", "width": 8, "layers": 2, "radial": 6, "cutoff": 4.0}
GEMNET = {"_target_": "jointkd.students.gemnet.GemNet", "width": 8, "blocks": 1, "cutoff": 4.0}


class UsersPaiNN(PaiNN):
    """A student of the user's own class."""


def student_file(folder: Path, config: dict[str, Any], references: dict[int, float] = FREE) -> Path:
    """A student's file with seeded random weights in float64."""
    torch.manual_seed(3)
    student = build(config, torch.float64, config["_target_"])
    for parameter in student.parameters():  # output layers are initialised to zero
        torch.nn.init.normal_(parameter, std=0.3)
    file = folder / "student.safetensors"
    save_student(file, SavedStudent(config, student.state_dict(), references, {}))
    return file


CONSERVATIVE = [{**PAINN, "conservative": True}, {**GEMNET, "conservative": True}]


@pytest.mark.parametrize("config", CONSERVATIVE, ids=["painn", "gemnet"])
def test_forces_and_stress_equal_finite_differences(tmp_path, config):
    crystal = Atoms("SrTiO3", scaled_positions=PEROVSKITE, cell=3.9 * np.eye(3) + 0.1 * np.array(TRICLINIC), pbc=True)
    crystal.rattle(0.1, seed=1)
    crystal.calc = JointKD(student_file(tmp_path, config), dtype="float64")
    forces, stress = crystal.get_forces(), crystal.get_stress(voigt=False)
    assert np.abs(forces).max() > 0.01
    assert np.abs(stress).max() > 1e-4
    np.testing.assert_allclose(forces, calculate_numerical_forces(crystal, 1e-4), atol=1e-6 * np.abs(forces).max())
    numerical = calculate_numerical_stress(crystal, 1e-4, voigt=False)
    np.testing.assert_allclose(stress, numerical, atol=1e-5 * np.abs(stress).max())


def test_total_energies_are_predictions_plus_reference_energies(tmp_path):
    file = student_file(tmp_path, PAINN)
    atoms = ETHANOL.copy()
    atoms.calc = JointKD(tmp_path, dtype="float64")  # a run's folder, which holds the file
    batch = batch_of(ETHANOL)
    prediction = predict(atoms.calc.student, batch)
    references = sum(FREE[int(z)] for z in atoms.numbers)
    energy = float(batch.total_energy(prediction.atomic_energies)) + references
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-9)
    assert atoms.get_potential_energies().sum() == pytest.approx(energy, abs=1e-9)
    np.testing.assert_allclose(atoms.get_forces(), prediction.forces.numpy(), atol=1e-12)
    atoms.calc = JointKD(file)
    assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-6)


def test_a_student_labels_through_its_calculator_as_any_other_one(tmp_path):
    file = student_file(tmp_path, CONSERVATIVE[0])
    options = {"student": str(file), "dtype": "float64"}
    teacher = from_calculator("jointkd.calculator.JointKD", "student", options)
    labels = labels_of(teacher, ETHANOL, [0, 7])
    checker = LabelChecker(teacher)
    assert checker.check(frame_of(ETHANOL), labels) is None
    assert labels.atomic_energies.sum() == pytest.approx(labels.energy, abs=1e-9)


def test_a_composition_that_training_did_not_determine_is_named_once(tmp_path, caplog):
    file = student_file(tmp_path, PAINN)
    saved = read_student(file)
    trained = composition([frame_of(ETHANOL)], [1, 6, 8])
    directions = np.linalg.svd(trained)[2][1:]
    undetermined = tuple(dict(zip([1, 6, 8], direction.tolist(), strict=True)) for direction in directions)
    save_student(file, saved._replace(undetermined=undetermined))
    calculator = JointKD(file)
    for atoms in (ETHANOL.copy(), molecule("CH3OCH3"), molecule("CH4"), molecule("CH4")):
        atoms.rattle(0.01)
        atoms.calc = calculator
        atoms.get_potential_energy()
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("CH4: the structures that this student was trained on do not determine")


def test_results_are_recomputed_for_changed_atoms(tmp_path):
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.calc = JointKD(student_file(tmp_path, CONSERVATIVE[0]))
    first = atoms.get_potential_energy()
    atoms.set_cell(atoms.cell * 1.02, scale_atoms=True)
    second = atoms.get_potential_energy()
    atoms.numbers[0] = 17
    assert len({first, second, atoms.get_potential_energy()}) == 3


def test_a_conservative_student_conserves_energy(tmp_path):
    atoms = ETHANOL.copy()
    atoms.calc = JointKD(student_file(tmp_path, CONSERVATIVE[0]), dtype="float64")
    dynamics = VelocityVerlet(atoms, timestep=0.2 * units.fs)
    before = atoms.get_total_energy()
    dynamics.run(50)
    assert atoms.get_kinetic_energy() > 0.01
    assert atoms.get_total_energy() == pytest.approx(before, abs=0.01 * atoms.get_kinetic_energy())


def test_a_student_with_a_force_head_has_no_stress(tmp_path):
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.calc = JointKD(student_file(tmp_path, PAINN))
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_the_stress_comes_with_the_forces(tmp_path, monkeypatch):
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.calc = JointKD(student_file(tmp_path, CONSERVATIVE[0]))
    calls = []
    student = atoms.calc.student
    monkeypatch.setattr(student, "forward", lambda *inputs: calls.append(1) or PaiNN.forward(student, *inputs))
    atoms.get_forces()
    atoms.get_stress()
    atoms.get_potential_energy()
    assert len(calls) == 1


@pytest.mark.parametrize(
    "atoms", [ETHANOL, Atoms("NaCl", [[0, 0, 0], [0, 0, 2.5]], cell=[4, 4, 0], pbc=[1, 1, 0])], ids=["molecule", "slab"]
)
def test_without_a_cell_of_three_vectors_there_is_no_stress(tmp_path, atoms):
    atoms = atoms.copy()
    atoms.calc = JointKD(student_file(tmp_path, CONSERVATIVE[0]))
    assert np.isfinite(atoms.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError, match="there is no stress without a cell of three vectors"):
        atoms.get_stress()


@pytest.mark.parametrize("config", [*CONSERVATIVE, PAINN], ids=["painn", "gemnet", "force head"])
def test_the_hessian_equals_finite_differences_of_forces(tmp_path, config):
    crystal = Atoms("SrTiO3", scaled_positions=PEROVSKITE, cell=3.9 * np.eye(3) + 0.1 * np.array(TRICLINIC), pbc=True)
    crystal.rattle(0.1, seed=1)
    calculator = JointKD(student_file(tmp_path, config), dtype="float64")
    hessian, step = calculator.get_hessian(crystal), 1e-4
    rows = np.empty_like(hessian)
    for column in range(3 * len(crystal)):
        moved = [crystal.copy() for _ in range(2)]
        for atoms, way in zip(moved, (step, -step), strict=True):
            atoms.positions.flat[column] += way
        ahead, behind = (calculator.get_forces(atoms).flatten() for atoms in moved)
        rows[:, column] = (behind - ahead) / (2 * step)
    assert np.abs(hessian).max() > 0.01
    np.testing.assert_allclose(calculator.get_hessian(crystal, [7, 0]), hessian[[7, 0]], atol=1e-12)
    np.testing.assert_allclose(hessian, rows, atol=1e-5 * np.abs(hessian).max())
    symmetric = np.allclose(hessian, hessian.T, atol=1e-8 * np.abs(hessian).max())
    assert symmetric == calculator.student.conservative


def test_the_hessian_has_the_order_and_the_units_of_ases_vibrations(tmp_path):
    atoms = molecule("H2O")
    calculator = JointKD(student_file(tmp_path, CONSERVATIVE[0]), dtype="float64")
    hessian = calculator.get_hessian(atoms)
    vibrations = VibrationsData.from_2d(atoms, hessian)
    np.testing.assert_array_equal(vibrations.get_hessian()[0, 1, 2], hessian[1, 6:9])
    masses = np.repeat(atoms.get_masses(), 3) ** 0.5
    squares = np.linalg.eigvalsh(hessian / np.outer(masses, masses)).astype(complex)
    energies = units._hbar * 1e10 / np.sqrt(units._e * units._amu) * np.sqrt(squares)  # eV, of √(eV/Å²/u)
    assert np.abs(energies).max() > 0.01
    np.testing.assert_allclose(vibrations.get_energies(), energies, atol=1e-6 * np.abs(energies).max())


@pytest.mark.parametrize("config", [*CONSERVATIVE, PAINN], ids=["painn", "gemnet", "force head"])
@pytest.mark.parametrize("atoms", [ETHANOL, bulk("NaCl", "rocksalt", a=5.6, cubic=True)], ids=["molecule", "crystal"])
def test_float32_is_as_accurate_far_from_the_origin(tmp_path, config, atoms):
    atoms = atoms.copy()
    atoms.rattle(0.05, seed=2)
    file = student_file(tmp_path, config)
    exact, single = JointKD(file, dtype="float64"), JointKD(file)
    expected = exact.get_forces(atoms)
    for shift in ([0, 0, 0], [1000.0, -1000.0, 500.0]):
        atoms.positions += shift
        np.testing.assert_allclose(single.get_forces(atoms), expected, atol=1e-5 * max(1, np.abs(expected).max()))
    if atoms.pbc.all():  # an atom that has left its cell
        atoms.positions[0] += 200 * atoms.cell[0]
        np.testing.assert_allclose(single.get_forces(atoms), expected, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "mps"])
def test_a_device_that_is_not_here_is_refused(tmp_path, device):
    with pytest.raises(ConfigError, match=f"device={device} is not "):
        JointKD(student_file(tmp_path, PAINN), device)


def test_an_element_on_which_the_student_was_not_trained_is_refused(tmp_path):
    atoms = Atoms("SiH4", np.eye(5, 3))
    atoms.calc = JointKD(student_file(tmp_path, PAINN, {1: -13.0}))
    with pytest.raises(DataError, match="the student was not trained on Si; give structures of H only"):
        atoms.get_potential_energy()


def test_without_reference_energies_the_total_is_the_sum_of_the_predictions(tmp_path):
    atoms = ETHANOL.copy()
    atoms.calc = JointKD(student_file(tmp_path, PAINN, {}), dtype="float64")
    assert atoms.get_potential_energy() == pytest.approx(atoms.get_potential_energies().sum())


def test_an_unknown_precision_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="dtype=float16 is not known; choose float32 or float64"):
        JointKD(student_file(tmp_path, PAINN), dtype="float16")


def test_a_student_of_the_users_own_class_is_built_only_where_the_user_trusts_it(tmp_path, monkeypatch):
    own = f"{__name__}.UsersPaiNN"
    file = student_file(tmp_path, {**PAINN, "_target_": own})
    for opened in (lambda: JointKD(file), lambda: load(file).ase()):
        with pytest.raises(DataError, match=rf"{re.escape(str(file))} names {own}, .* add trust={own} \(from Python"):
            opened()
    for opened in (JointKD(file, trust=own), load(file, trust=[own]).ase()):
        assert isinstance(opened.student, UsersPaiNN)
    registered = EntryPoint("painn", own.replace(".UsersPaiNN", ":UsersPaiNN"), student_file_module.GROUP)
    monkeypatch.setattr(student_file_module, "entry_points", lambda group: [registered])
    student_file_module.registered_students.cache_clear()
    try:
        assert isinstance(JointKD(file).student, UsersPaiNN)
    finally:
        student_file_module.registered_students.cache_clear()


@pytest.mark.parametrize(
    "config",
    [
        {"_target_": "torch_geometric.nn.Sequential", "input_args": "x -> __import__('os').system('touch ran')"},
        {"_target_": "torch.nn.Sequential"},
        {"_target_": "jointkd.students.painn.nn.Sequential"},
        {"_target_": "os.system", "command": "touch ran"},
        {**PAINN, "width": {"_target_": "os.system", "command": "touch ran"}},
        {**PAINN, "width": "8"},
        {"_target_": None},
    ],
)
def test_a_students_file_runs_no_code_that_it_names(tmp_path, monkeypatch, config):
    monkeypatch.chdir(tmp_path)
    save_student(tmp_path / "student.safetensors", SavedStudent(config, {"a": torch.ones(1)}, {}, {}))
    with pytest.raises(DataError):
        JointKD(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_students_class_that_is_trusted_but_not_here_is_an_error_that_names_it(tmp_path):
    file = student_file(tmp_path, PAINN)
    save_student(file, SavedStudent({"_target_": "nowhere.Own"}, {"a": torch.ones(1)}, {}, {}))
    with pytest.raises(DataError, match=r"nowhere\.Own cannot be imported .*; put its module on PYTHONPATH"):
        JointKD(file, trust=["nowhere.Own"])


@pytest.mark.parametrize("config", [*CONSERVATIVE, PAINN, GEMNET], ids=["painn", "gemnet", "painn-head", "gemnet-head"])
def test_an_atom_without_neighbours_has_an_uncertainty_and_that_of_an_element_of_no_training_is_infinite(
    tmp_path, config
):
    file = with_uncertainty(student_file(tmp_path, config))
    for dtype, tolerance in (("float64", 1e-8), ("float32", 1e-3)):
        calculator = JointKD(file, dtype=dtype)
        for atoms in (Atoms("H"), Atoms("OHNa", [[0, 0, 0], [0, 0, 1], [2, 0, 0]]), Atoms("Cl")):
            found = calculator.get_property("force_uncertainty", atoms)
            np.testing.assert_allclose(found, uncertainty_of(file, atoms), rtol=tolerance)
            assert np.isinf(found).tolist() == [symbol in ("Na", "Cl") for symbol in atoms.symbols]


@pytest.mark.parametrize("config", [*CONSERVATIVE, PAINN, GEMNET], ids=["painn", "gemnet", "painn-head", "gemnet-head"])
def test_the_force_on_an_atom_far_from_the_training_is_uncertain(tmp_path, config):
    file = student_file(tmp_path, config)
    assert "force_uncertainty" not in JointKD(file).implemented_properties
    calculator = load(with_uncertainty(file, scale=0.1)).ase(dtype="float64")
    near, far = ETHANOL.copy(), ETHANOL.copy()
    near.rattle(0.02, seed=1)
    far.positions[3] += 0.3
    usual, unusual = (calculator.get_property("force_uncertainty", atoms) for atoms in (near, far))
    np.testing.assert_allclose(unusual, uncertainty_of(file, far), rtol=1e-8)
    np.testing.assert_allclose(load(file).ase().get_property("force_uncertainty", far), unusual, rtol=1e-3)
    assert usual.shape == (len(near),)
    assert 0 < usual.mean() < 0.1 * np.sqrt(8)  # eV/Å: the mean square of a distance is the number of features
    assert unusual[3] > 1.5 * usual[3]
    assert calculator.get_potential_energy(far) == JointKD(file, dtype="float64").get_potential_energy(far)


@pytest.mark.parametrize("kind", ["student", "committee", "replicas"])
def test_ase_hands_out_the_properties_that_it_knows_beside_those_that_it_does_not(tmp_path, kind):
    file = with_uncertainty(student_file(tmp_path, CONSERVATIVE[0]))
    atoms = ETHANOL.copy()
    atoms.calc = {
        "student": lambda: JointKD(file),
        "committee": lambda: Committee([file, file]),
        "replicas": lambda: ReplicaCalculator(load_model(file, None, None, None), [atoms]),
    }[kind]()
    found = atoms.get_properties(["energy", "forces"])
    np.testing.assert_array_equal(found["forces"], atoms.get_forces())
    assert set(atoms.calc.results) & {"force_uncertainty", "replica_energies"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda atoms: atoms.positions.__setitem__((0, 0), np.nextafter(atoms.positions[0, 0], 9)), ["positions"]),
        (lambda atoms: atoms.numbers.__setitem__(0, 8), ["numbers"]),
        (lambda atoms: atoms.set_cell(8 * np.eye(3)), ["cell"]),
        (lambda atoms: atoms.set_pbc([True, False, False]), ["pbc"]),
        (lambda atoms: atoms.set_initial_charges([1] + [0] * (len(atoms) - 1)), ["initial_charges"]),
        (lambda atoms: atoms.set_momenta(np.ones((len(atoms), 3))), []),
        (lambda atoms: atoms.append("H"), ["positions", "numbers"]),
    ],
    ids=["position", "number", "cell", "pbc", "charge", "momenta", "one atom more"],
)
def test_what_has_changed_since_the_last_calculation_is_seen(tmp_path, change, named):
    atoms = ETHANOL.copy()
    atoms.set_cell(9 * np.eye(3))
    calculator = JointKD(student_file(tmp_path, CONSERVATIVE[0]))
    assert "positions" in calculator.check_state(atoms)
    atoms.calc = calculator
    before = atoms.get_forces()
    assert calculator.check_state(atoms) == []
    change(atoms)
    assert calculator.check_state(atoms) == named
    assert (len(atoms.get_forces()) > len(before)) == (len(named) == 2)
    assert calculator.check_state(atoms) == []

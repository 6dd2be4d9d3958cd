"""The gates against a teacher, with springs in the place of student and teacher."""

import time

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.vibrations import VibrationsData

from jointkd.acceptance.options import TeacherLimits
from jointkd.acceptance.radial import radial_distribution
from jointkd.acceptance.teacher import against_teacher, unavailable
from jointkd.acceptance.vibrations import frequencies
from jointkd.errors import DataError
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.teachers.calculator import TeacherCalculator
from tests.calculators import Springs

LIMITS = TeacherLimits(frames=3, speedup=1.0)


class Bonds(Springs):
    """Springs of some stiffness and of length 1 Å between all atoms, with their Hessian by differences of forces."""

    def __init__(self, stiffness: float = 3.0, pause: float = 0.0) -> None:
        super().__init__()
        self.stiffness, self.pause = stiffness, pause

    def calculate(self, atoms=None, properties=("energy",), system_changes=("positions",)):
        super(Springs, self).calculate(atoms, properties, system_changes)
        time.sleep(self.pause)
        apart = self.atoms.positions[:, None] - self.atoms.positions
        length = np.sqrt((apart**2).sum(-1)) + np.eye(len(apart))
        forces = -self.stiffness * ((length - 1) / length)[:, :, None] * apart
        self.results = {"energy": self.stiffness * ((length - 1) ** 2).sum() / 4, "forces": forces.sum(1)}

    def get_hessian(self, atoms: Atoms) -> np.ndarray:
        rows = []
        for place in range(3 * len(atoms)):
            ends = []
            for sign in (1, -1):
                moved = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
                moved.positions[place // 3, place % 3] += sign * 1e-4
                moved.calc = Bonds(self.stiffness)
                ends.append(moved.get_forces().flatten())
            rows.append((ends[1] - ends[0]) / 2e-4)
        return np.array(rows)


class SpringTeacher:
    """A teacher that labels with springs."""

    batch_atoms = None
    identity = TeacherIdentity("springs", "", "float64", (1, 8), {})

    def __init__(self, stiffness: float = 3.0, pause: float = 0.001, fails: bool = False) -> None:
        self.calculator, self.fails = Bonds(stiffness, pause), fails

    def label(self, frames, directions):
        if self.fails:
            raise DataError("the teacher does not know O", "leave it out")
        labels = []
        for frame, rows in zip(frames, directions, strict=True):
            atoms = frame.to_ase()
            atoms.calc = self.calculator
            hessian = self.calculator.get_hessian(atoms) if len(rows) else np.zeros((0, 3 * len(frame)))
            energy, forces = atoms.get_potential_energy(), atoms.get_forces()
            labels.append(TeacherLabels(energy, np.zeros(0), forces, hessian.reshape(-1, len(frame), 3), rows))
        return labels


def water(count: int = 1) -> list[Atoms]:
    structures = []
    for seed in range(count):
        atoms = molecule("H2O")
        atoms.rattle(0.05, seed=seed)
        structures.append(atoms)
    return structures


def gates_of(student: Bonds, teacher: SpringTeacher, limits: TeacherLimits = LIMITS, visited=None) -> dict:
    frames = water(5) if visited is None else visited
    return {
        gate.name: gate for gate in against_teacher(student, student, teacher, water(), frames, limits, seed=0).gates
    }


def test_a_student_that_equals_its_teacher_passes_all_gates():
    gates = gates_of(Bonds(), SpringTeacher())
    assert list(gates) == ["forces on visited frames", "vibrational frequencies", "speed-up"]
    assert all(gate.passed for gate in gates.values())
    assert gates["forces on visited frames"].value == pytest.approx(0, abs=1e-9)
    assert gates["vibrational frequencies"].value == pytest.approx(0, abs=0.1)
    assert "mean of 3 modes of H2O relaxed with the student" in gates["vibrational frequencies"].detail


def test_other_forces_and_frequencies_fail_their_gates():
    gates = gates_of(Bonds(12.0), SpringTeacher(3.0))
    assert not gates["forces on visited frames"].passed
    assert not gates["vibrational frequencies"].passed
    student = np.array(against_teacher(Bonds(12.0), Bonds(12.0), SpringTeacher(), water(), water(), LIMITS, 0).student)
    teacher = np.array(against_teacher(Bonds(12.0), Bonds(12.0), SpringTeacher(), water(), water(), LIMITS, 0).teacher)
    np.testing.assert_allclose(student, 2 * teacher, rtol=1e-3)  # at the minimum, which both have
    assert gates["vibrational frequencies"].value == pytest.approx(np.abs(student - teacher).mean(), rel=1e-3)


def test_the_force_error_is_the_mean_over_components_of_the_frames_that_are_drawn():
    (frame,) = water()
    gates = gates_of(Bonds(4.0), SpringTeacher(3.0), visited=[frame])
    frame = frame.copy()
    frame.calc = Bonds(1.0)
    assert gates["forces on visited frames"].value == pytest.approx(1000 * np.abs(frame.get_forces()).mean())


def test_a_slow_student_fails():
    gate = gates_of(Bonds(pause=0.02), SpringTeacher(pause=0.001))["speed-up"]
    assert not gate.passed
    assert gate.value < 0.5
    assert gate.relation == "≥"


def test_a_teacher_that_refuses_its_structures_or_no_frames_leave_gates_unmeasured():
    gates = gates_of(Bonds(), SpringTeacher(fails=True))
    assert not any(gate.passed for gate in gates.values())
    assert {gate.value for gate in gates.values()} == {None}
    assert "the teacher does not know O" in gates["speed-up"].detail
    none = gates_of(Bonds(), SpringTeacher(), visited=[])
    assert none["forces on visited frames"].value is None
    assert not none["forces on visited frames"].passed
    assert none["vibrational frequencies"].passed


def test_a_structure_that_does_not_relax_is_not_measured():
    gate = gates_of(Bonds(), SpringTeacher(), TeacherLimits(frames=1, relaxation=1e-300))["vibrational frequencies"]
    assert gate.value is None
    assert "did not relax" in gate.detail


def test_without_a_teacher_its_gates_fail_with_the_reason():
    assert len(unavailable(LIMITS, "not installed", [Atoms("H", cell=[9, 9, 9], pbc=True)])) == 4
    gates = unavailable(LIMITS, "mace-torch is not installed", water())
    assert [gate.passed for gate in gates] == [False] * 3
    assert all("mace-torch is not installed" in gate.detail for gate in gates)


def test_frequencies_are_those_of_ase_without_translations_and_rotations():
    (atoms,) = water()
    atoms.calc = Bonds()
    hessian = atoms.calc.get_hessian(atoms)
    relaxed = Atoms("H2O", [[0, 0, 0], [1, 0, 0], [0.5, np.sqrt(0.75), 0]])
    hessian = Bonds().get_hessian(relaxed)
    expected = VibrationsData.from_2d(relaxed, hessian).get_frequencies()
    np.testing.assert_allclose(frequencies(hessian, relaxed), expected.real[-3:], rtol=1e-4)
    np.testing.assert_allclose(frequencies(-hessian, relaxed), -expected.real[-3:][::-1], rtol=1e-4)


@pytest.mark.parametrize(
    ("cell", "count"), [(None, 1), ([9.0, 9.0, 9.0], 3)], ids=["a linear molecule", "a periodic structure"]
)
def test_a_linear_molecule_has_one_rotation_less_and_a_crystal_none(cell, count):
    atoms = Atoms("H2", [[0, 0, 0], [0, 0.1, 1]], cell=cell, pbc=cell is not None)
    assert len(frequencies(Bonds().get_hessian(atoms), atoms)) == count


def test_another_radial_distribution_fails_where_a_structure_is_periodic():
    cell = Atoms("H8", 1.5 * np.indices((2, 2, 2)).reshape(3, -1).T, cell=[9, 9, 9], pbc=True)
    limits = TeacherLimits(frames=1, radial_time=0.05, speedup=0.0)
    found = []
    for stiffness in (3.0, 0.01):
        gates = against_teacher(Bonds(stiffness), Bonds(stiffness), SpringTeacher(), [cell], [cell], limits, 0).gates
        found.append({gate.name: gate for gate in gates}["radial distribution"])
    same, other = found
    assert same.passed
    assert same.value == pytest.approx(0, abs=0.05)
    assert not other.passed
    atoms = cell.copy()
    atoms.calc = TeacherCalculator(SpringTeacher())
    assert radial_distribution(atoms, 0.01, 0).sum() > 0

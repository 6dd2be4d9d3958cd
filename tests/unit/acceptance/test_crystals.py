"""The gates of crystals, with potentials of pairs and ASE's EMT in the place of student and teacher."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from jointkd.acceptance.crystals import Crystal, crystals_of, in_a_crystal, primitive, unavailable
from jointkd.acceptance.elasticity import elastic_constants, equation_of_state
from jointkd.acceptance.options import AcceptanceOptions, CrystalLimits
from jointkd.acceptance.outputs import crystal_data
from jointkd.acceptance.phonons import phonons, repeats_of
from jointkd.acceptance.relaxation import relax, with_calculator
from jointkd.errors import ConfigError, DataError
from jointkd.teachers.ase import AseTeacher, from_calculator
from tests.calculators import Metal, rows_of

SMALL = CrystalLimits(supercell=4.0)
NAMES = ["equilibrium volume", "bulk modulus", "elastic constants", "phonon frequencies", "imaginary phonons"]


@pytest.fixture(scope="module")
def teacher() -> AseTeacher:
    return from_calculator("tests.calculators.Metal", "metal")


def copper() -> Atoms:
    """Two distorted cells, which relax to the primitive cell of one atom."""
    atoms = bulk("Cu", a=3.65, cubic=True) * (2, 1, 1)
    atoms.rattle(0.05, seed=1)
    return atoms


def measured(student: Metal, teacher: AseTeacher, *properties: str) -> Crystal:
    limits = CrystalLimits(supercell=4.0, properties=list(properties))
    return in_a_crystal(student, teacher, [copper()], limits)


def test_a_student_that_equals_its_teacher_passes_all_gates(teacher):
    crystal = in_a_crystal(Metal(), teacher, [copper()], SMALL)
    assert [gate.name for gate in crystal.gates] == NAMES
    assert all(gate.passed for gate in crystal.gates)
    assert max(gate.value for gate in crystal.gates) < 0.01
    assert crystal.name == "Cu (Fm-3m)"
    assert crystal.frequencies[0].shape == (8, 3)
    assert "mean of 24 modes at 2×2×2 wave vectors" in crystal.gates[3].detail
    curve, constants = crystal.curves[0], crystal.constants[0]
    assert_cubic(constants, curve.modulus)
    assert constants[3, 3] == pytest.approx(constants[0, 1], rel=0.01)  # Cauchy's relation, of every pair potential
    shown = crystal_data(crystal)
    assert shown["phonons_per_cm"]["teacher"][0] == pytest.approx([0, 0, 0], abs=0.01)
    assert len(shown["equation_of_state"]["student"]["energy_eV_per_atom"]) == 7
    assert shown["elastic_constants_GPa"]["student"][0][0] == pytest.approx(constants[0, 0], abs=1e-3)


def assert_cubic(constants: np.ndarray, modulus: float) -> None:
    """Elastic constants are those of a cubic crystal with this bulk modulus, GPa."""
    stretch, cross, shear = constants[0, 0], constants[0, 1], constants[3, 3]
    expected = np.diag([stretch - cross] * 3 + [shear] * 3)
    expected[:3, :3] += cross
    np.testing.assert_allclose(constants, expected, atol=0.2)
    assert (stretch + 2 * cross) / 3 == pytest.approx(modulus, rel=0.01)


def test_copper_has_its_bulk_modulus():
    crystal = with_calculator(bulk("Cu", a=3.6), EMT())
    relax(crystal, 1e-3, cell=True)
    curve = equation_of_state(crystal, 1e-3)
    assert curve.modulus == pytest.approx(134.4, abs=0.5)  # GPa
    assert_cubic(elastic_constants(crystal, 1e-3), curve.modulus)


def test_a_stiffer_student_fails_by_as_much_as_it_is_stiffer(teacher):
    gates = {gate.name: gate for gate in in_a_crystal(Metal(energy=1.21), teacher, [copper()], SMALL).gates}
    assert gates["equilibrium volume"].value == pytest.approx(0, abs=1e-3)
    assert gates["bulk modulus"].value == pytest.approx(21, abs=0.1)
    assert gates["elastic constants"].value == pytest.approx(21, abs=0.1)
    assert [gate.passed for gate in gates.values()] == [True, False, False, False, True]
    (ours, theirs) = measured(Metal(energy=1.21), teacher, "phonons").frequencies
    np.testing.assert_allclose(ours, 1.1 * theirs, atol=0.05)
    assert gates["phonon frequencies"].value == pytest.approx(0.1 * np.abs(theirs).mean(), abs=0.05)


def test_another_length_of_bonds_is_another_volume(teacher):
    (volume, _) = measured(Metal(length=1.01), teacher, "equation_of_state").gates
    assert volume.value == pytest.approx(100 * (1.01**3 - 1), abs=0.01)
    assert not volume.passed


class Unstable(Metal):
    """One whose Hessian has the wrong sign."""

    def get_hessian(self, atoms: Atoms, rows: list[int]) -> np.ndarray:
        return -super().get_hessian(atoms, rows)


def test_imaginary_modes_count_where_the_teacher_has_none(teacher):
    crystal = measured(Unstable(), teacher, "phonons")
    assert crystal.gates[1].value == 7 * 3  # all but those of Γ
    assert not crystal.gates[1].passed
    assert crystal.frequencies[0].min() == pytest.approx(-crystal.frequencies[1].max())


class UnstableTeacher:
    """A teacher whose Hessian has the wrong sign."""

    def __init__(self, teacher: AseTeacher) -> None:
        self.teacher, self.identity = teacher, teacher.identity

    def label(self, frames, directions):
        return [replace(each, hessian_rows=-each.hessian_rows) for each in self.teacher.label(frames, directions)]


def test_imaginary_modes_that_the_teacher_has_too_do_not_count(teacher):
    crystal = measured(Unstable(), UnstableTeacher(teacher), "phonons")
    assert crystal.frequencies[0].min() < -100
    assert [gate.value for gate in crystal.gates] == pytest.approx([0, 0], abs=0.01)


def test_only_what_is_named_is_measured(teacher):
    crystal = measured(Metal(), teacher, "elastic_constants")
    assert [gate.name for gate in crystal.gates] == ["elastic constants"]
    assert crystal_data(crystal)["phonons_per_cm"] is None
    assert [gate.name for gate in unavailable(SMALL, "not installed")] == NAMES
    assert not any(gate.passed for gate in unavailable(SMALL, "not installed"))


def test_a_student_without_stress_and_one_that_leaves_the_crystal_are_not_measured(teacher):
    student = Metal()
    student.implemented_properties = ["energy", "forces"]
    crystal = in_a_crystal(student, teacher, [copper()], SMALL)
    assert [gate.name for gate in crystal.gates] == NAMES
    assert {gate.value for gate in crystal.gates} == {None}
    assert "the student has no stress, by which Cu8 relaxes" in crystal.gates[0].detail
    (gate,) = measured(Metal(length=1.4), teacher, "elastic_constants").gates
    assert gate.value is None
    assert "the cell of Cu8 relaxes to" in gate.detail


def test_energies_without_a_minimum_have_no_equation_of_state(teacher):
    stretched = with_calculator(bulk("Cu", a=4.2), Metal())
    with pytest.raises(DataError, match=r"the energy has no minimum between|cannot be fitted"):
        equation_of_state(stretched, 0.001)


def test_atoms_relax_at_every_volume():
    crystal = with_calculator(bulk("NiAl", "cesiumchloride", a=2.9), Metal())
    relax(crystal, 1e-3, cell=True)
    expected = equation_of_state(crystal, 1e-3)
    crystal.positions[1] += 0.1
    np.testing.assert_allclose(equation_of_state(crystal, 1e-3).energies, expected.energies, atol=1e-5)


def test_frozen_atoms_relax():
    atoms = with_calculator(bulk("Cu", cubic=True), Metal())
    atoms.positions[0] += 0.2
    atoms.set_constraint(FixAtoms([0, 1, 2, 3]))
    relax(atoms, 1e-3)
    assert np.abs(np.linalg.norm(Metal().get_forces(atoms), axis=1)).max() < 1e-3


class Broken(Metal):
    def get_hessian(self, atoms: Atoms, rows: list[int]) -> np.ndarray:
        return np.full((len(rows), 3 * len(atoms)), np.nan)


def test_what_is_not_finite_is_not_measured(teacher):
    for gate in measured(Broken(), teacher, "phonons").gates:
        assert gate.value is None
        assert "not finite" in gate.detail
    (gate,) = measured(Metal(energy=np.nan), teacher, "elastic_constants").gates
    assert gate.value is None
    assert "Cu8 has forces that are not finite" in gate.detail


def test_atoms_relax_in_a_strained_cell():
    """Without that the constants of hexagonal crystals are too large."""
    nickel = with_calculator(bulk("Ni", "hcp", a=2.5, c=4.1), EMT())
    relax(nickel, 1e-3, cell=True)
    nickel.positions[1] += nickel.cell[0] / 6  # no longer at the minimum
    relax(nickel, 1e-3, cell=True)
    constants = elastic_constants(nickel, 1e-3)
    assert constants[5, 5] == pytest.approx((constants[0, 0] - constants[0, 1]) / 2, rel=0.01)  # of hexagonal crystals
    clamped = nickel.copy()
    clamped.calc = EMT()
    ends = []
    for shear in (5e-3, -5e-3):
        clamped.set_cell(nickel.cell.array @ np.array([[1, shear / 2, 0], [shear / 2, 1, 0], [0, 0, 1]]), True)
        ends.append(clamped.get_stress()[5])
    assert (ends[0] - ends[1]) / 1e-2 * 160.2177 > 1.05 * constants[5, 5]


def test_crystals_have_no_vacuum_and_the_composition_of_the_smallest():
    boxed = molecule("H2O", vacuum=4.0)
    boxed.pbc = True
    surface = fcc111("Cu", (1, 1, 3), vacuum=5.0)
    surface.pbc = True
    assert crystals_of([boxed, surface, molecule("H2O")], 128) == []
    large, small, other = (
        bulk("NiAl", "cesiumchloride", a=2.9) * 2,
        bulk("NiAl", "cesiumchloride", a=2.9),
        bulk("Al") * 3,
    )
    assert crystals_of([boxed, large, other, small, surface], 128) == [small, large]


def test_the_crystal_is_the_structure_of_the_lowest_energy(teacher):
    vacancy = bulk("Cu", cubic=True)[:3]
    limits = CrystalLimits(properties=["elastic_constants"])
    crystal = in_a_crystal(Metal(), teacher, [vacancy, copper()], limits)
    assert crystal.name == "Cu (Fm-3m)"


def test_the_primitive_cell_keeps_what_is_not_symmetric():
    atoms = bulk("Cu", cubic=True) * 2
    atoms.rattle(0.003, seed=0)
    assert len(primitive(atoms)) == 1
    atoms.rattle(0.2, seed=0)
    assert len(primitive(atoms)) == 32


@pytest.fixture(scope="module")
def alloy() -> Atoms:
    """Two elements in a cell without symmetry."""
    atoms = Atoms("CuAu", [[0, 0, 0], [1.9, 1.7, 2.0]], cell=[[3.6, 0, 0.2], [0, 3.8, 0], [0.3, 0.1, 3.9]], pbc=True)
    return atoms


def test_phonons_are_those_of_the_whole_supercell(alloy):
    repeats = (3, 2, 1)
    supercell = with_calculator(alloy.repeat(repeats), EMT())
    hessian = rows_of(supercell, np.arange(3 * len(supercell)))
    found = phonons(hessian[:6], alloy, repeats)
    masses = np.repeat(supercell.get_masses(), 3)
    squares = np.linalg.eigvalsh((hessian + hessian.T) / 2 / np.sqrt(np.outer(masses, masses)))
    expected = np.sort(np.sign(squares) * np.abs(squares) ** 0.5) * 521.4709  # cm⁻¹ of √(eV/Å²/u)
    np.testing.assert_allclose(np.sort(found.flatten()), expected, atol=0.1)
    assert np.abs(expected).max() > 100


def test_phonons_do_not_depend_on_the_supercell_that_the_wave_fits_into():
    atoms, found = bulk("Cu", a=3.59), {}
    for size in (2, 4):
        repeats = (size, size, 1)
        rows = rows_of(with_calculator(atoms.repeat(repeats), Metal()), np.arange(3))
        found[size] = phonons(rows, atoms, repeats).reshape(size, size, 3)
    np.testing.assert_allclose(found[2], found[4][::2, ::2], atol=1e-3)


def test_the_force_on_an_atom_is_the_opposite_of_those_on_all_others():
    atoms, repeats = bulk("Cu", a=3.59), (2, 2, 2)
    rows = rows_of(with_calculator(atoms.repeat(repeats), Metal()), np.arange(3))
    expected = phonons(rows, atoms, repeats)
    np.testing.assert_allclose(expected[0], 0, atol=1e-3)
    rows[:, :3] += 0.1 * np.eye(3)
    np.testing.assert_allclose(phonons(rows, atoms, repeats), expected, atol=1e-3)


def test_phonons_are_phonopys():
    phonopy = pytest.importorskip("phonopy", reason="phonopy is not installed")
    from phonopy.structure.atoms import PhonopyAtoms

    atoms, repeats = bulk("NiAl", "cesiumchloride", a=2.9), (2, 2, 2)
    cell = PhonopyAtoms(atoms.get_chemical_symbols(), cell=atoms.cell.array, positions=atoms.positions)
    theirs = phonopy.Phonopy(cell, np.diag(repeats), primitive_matrix=np.eye(3))
    theirs.generate_displacements(distance=2e-3)
    moved = [
        Atoms(each.symbols, each.positions, cell=each.cell, pbc=True, calculator=EMT())
        for each in theirs.supercells_with_displacements
    ]
    theirs.forces = [each.get_forces() for each in moved]
    theirs.produce_force_constants()
    theirs.run_qpoints(np.array(list(np.ndindex(repeats))) / 2)
    ours = phonons(rows_of(with_calculator(atoms.repeat(repeats), EMT()), np.arange(6)), atoms, repeats)
    np.testing.assert_allclose(ours, 33.35641 * theirs.qpoints.frequencies, atol=0.1)


def test_a_supercell_is_as_large_as_it_should_be_or_may_be():
    assert repeats_of(bulk("Cu", a=3.6), 10.0, 128) == (5, 5, 5)
    assert sorted(repeats_of(bulk("Cu", a=3.6), 10.0, 124)) == [4, 5, 5]
    long = Atoms("Cu", cell=[2.5, 2.5, 20], pbc=True)
    assert repeats_of(long, 10.0, 128) == (4, 4, 1)
    assert sorted(repeats_of(long, 10.0, 15)) == [1, 3, 4]
    assert repeats_of(bulk("Cu") * (6, 6, 6), 10.0, 128) == (1, 1, 1)


def test_a_property_that_is_not_compared_is_refused():
    with pytest.raises(ConfigError, match=r"crystal.properties has phonon, .*; did you mean phonons\? choose from "):
        AcceptanceOptions(crystal=CrystalLimits(properties=["phonon"]))
    with pytest.raises(ConfigError, match=r"crystal\.most_atoms=0 must be a positive integer"):
        AcceptanceOptions(crystal=CrystalLimits(most_atoms=0))
    AcceptanceOptions(crystal=CrystalLimits(properties=[]))


def test_structures_with_many_atoms_such_as_liquids_are_not_taken_for_crystals(caplog):
    caplog.set_level("INFO")
    small, large = (bulk("Cu", a=3.65, cubic=True) * times for times in (2, 3))
    assert crystals_of([large, small], 107) == [small]
    assert crystals_of([large, small], 108) == [small, large]
    assert not caplog.records
    assert crystals_of([large], 107) == []
    assert caplog.messages == ["Cu108 has more than crystal.most_atoms=107 atoms, so it is not measured as a crystal"]

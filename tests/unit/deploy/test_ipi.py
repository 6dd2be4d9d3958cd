"""Students in i-PI, where it is installed: the numbers of ASE, and path-integral dynamics that conserve energy."""

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write

from jointkd.deploy.ase import JointKD
from jointkd.errors import ConfigError, DataError
from jointkd.students.student_file import read_student, save_student
from tests.packages import package_of_another_torch
from tests.structures import ETHANOL
from tests.uncertain import uncertainty_of, with_uncertainty
from tests.unit.deploy.test_ase import CONSERVATIVE, PAINN, student_file

pytest.importorskip("ipi")

from ipi.interfaces.utils import parse_extra
from ipi.pes import load_pes
from ipi.pes._ase import ASEDriver
from ipi.utils.units import unit_to_internal

from jointkd.deploy.ipi import JointKDDriver

UNCERTAINTY = "<trajectory filename='uncertainty' stride='20' extra_type='force_uncertainty'> extras </trajectory>"
EXAMPLES = Path(__file__).parents[3] / "examples"
CRYSTAL = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
CRYSTAL.set_cell([[5.64, 0, 0], [0.8, 5.64, 0], [-0.5, 0.6, 5.64]], scale_atoms=True)
CRYSTAL.rattle(0.05, seed=1)


def template(folder: Path, atoms: Atoms) -> str:
    write(folder / "start.xyz", atoms)
    return str(folder / "start.xyz")


def as_i_pi(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Cell and positions as i-PI gives them: in bohr, lattice vectors as columns."""
    cell = atoms.cell.array if atoms.cell.rank == 3 else 30 * np.eye(3)
    return unit_to_internal("length", "angstrom", cell.T), unit_to_internal("length", "angstrom", atoms.positions)


@pytest.mark.parametrize("atoms", [ETHANOL, CRYSTAL], ids=["molecule", "crystal"])
def test_energies_forces_and_virial_are_those_of_ases_calculator_in_i_pi(tmp_path, atoms):
    file, start = with_uncertainty(student_file(tmp_path, CONSERVATIVE[0])), template(tmp_path, atoms)
    driver = JointKDDriver(template=start, student=str(file), dtype="float64", verbosity=1)
    theirs = ASEDriver(start, has_stress=bool(atoms.pbc.any()))
    plain = tmp_path / "plain.safetensors"  # i-PI's own driver fails on results that ASE does not know
    save_student(plain, read_student(file)._replace(uncertainty=None))
    theirs.ase_calculator = JointKD(plain, dtype="float64")
    moved = atoms.copy()
    moved.rattle(0.05, seed=3)
    uncertain = JointKD(file, dtype="float64").get_property("force_uncertainty", moved)
    ours = driver(*as_i_pi(moved))
    assert np.abs(ours[1]).max() > 1e-4
    said = parse_extra(ours[3])["force_uncertainty"]
    np.testing.assert_allclose(said, uncertain, rtol=1e-6)
    assert np.isinf(said).all() == bool(atoms.pbc.all())
    if not atoms.pbc.any():  # i-PI's own driver refuses a calculator without stress
        energy = JointKD(file, dtype="float64").get_potential_energy(moved)
        assert ours[0] == pytest.approx(unit_to_internal("energy", "electronvolt", energy))
        return
    assert np.abs(ours[2]).max() > 1e-4
    for value, expected in zip(ours[:3], theirs(*as_i_pi(moved))[:3], strict=True):
        np.testing.assert_allclose(value, np.reshape(expected, np.shape(value)), rtol=1e-9, atol=1e-12)


def test_a_force_head_has_no_virial_rather_than_a_wrong_one(tmp_path):
    driver = JointKDDriver(template(tmp_path, CRYSTAL), str(student_file(tmp_path, PAINN)))
    _, forces, virial, said = driver(*as_i_pi(CRYSTAL))
    assert said == ""  # the student's file does not say how uncertain its forces are
    assert np.isfinite(forces).all()
    assert np.isnan(virial).all()


def test_what_does_not_fit_is_refused_in_one_line(tmp_path):
    file, start = str(student_file(tmp_path, CONSERVATIVE[0])), template(tmp_path, CRYSTAL)
    with pytest.raises(ConfigError, match="the driver of a student does not know precision; give template, student"):
        JointKDDriver(start, file, precision="double")
    with pytest.raises(DataError, match=r"template=none\.xyz cannot be read"):
        JointKDDriver("none.xyz", file)
    with pytest.raises(DataError, match="the student was not trained on Au; give structures of H C O"):
        JointKDDriver(template(tmp_path, Atoms("Au")), file)
    driver = JointKDDriver(template(tmp_path, CRYSTAL), file)
    with pytest.raises(DataError, match=r"i-PI has 9 atoms, but template=.* 8; give the structure of the simulation"):
        driver(*as_i_pi(ETHANOL))
    with pytest.raises(DataError, match="positions of atoms are not finite"):
        driver(as_i_pi(CRYSTAL)[0], np.full((8, 3), np.nan))


def test_a_package_of_another_torch_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"was exported with 1\.0\.0, but this is .*; export it again here"):
        JointKDDriver(template(tmp_path, CRYSTAL), str(package_of_another_torch(tmp_path)), trust=True)


def test_the_file_of_the_example_is_what_i_pi_loads(monkeypatch):
    monkeypatch.delitem(sys.modules, "ipi_driver", raising=False)
    assert load_pes("custom", str(EXAMPLES / "ipi_driver.py")) is JointKDDriver
    assert isinstance(sys.modules["ipi"], ModuleType)
    assert hasattr(sys.modules["ipi"], "__path__")


def run_example(folder: Path, changes: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """i-PI in a folder, with the example's input and these replacements."""
    text = (EXAMPLES / "ipi.xml").read_text()
    for before, after in {"ipi_driver.py": str(EXAMPLES / "ipi_driver.py"), **changes}.items():
        assert before in text
        text = text.replace(before, after)
    (folder / "ipi.xml").write_text(text)
    command = [str(Path(sys.prefix, "bin", "i-pi")), "ipi.xml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.slow
def test_path_integral_dynamics_of_a_molecule_conserve_energy(tmp_path):
    with_uncertainty(student_file(tmp_path, CONSERVATIVE[0]))
    template(tmp_path, ETHANOL)
    done = run_example(tmp_path, {"</output>": f"{UNCERTAINTY}</output>"})
    assert done.returncode == 0, done.stdout + done.stderr
    last = np.loadtxt((tmp_path / "ipi.uncertainty_0").read_text().splitlines()[-1:])
    atoms = read(tmp_path / "ipi.positions_0.extxyz", "-1")
    expected = uncertainty_of(tmp_path / "student.safetensors", Atoms(atoms.numbers, atoms.positions))
    np.testing.assert_allclose(last, expected, rtol=1e-3)
    steps = np.loadtxt(tmp_path / "ipi.out")
    conserved, potential = steps[:, 2], steps[:, 3]
    assert len(steps) == 201
    assert np.ptp(potential) > 0.1
    assert np.ptp(conserved) < 0.05 * np.ptp(potential)


@pytest.mark.slow
def test_a_step_that_fails_ends_i_pi_with_the_line_that_says_why(tmp_path):
    student_file(tmp_path, CONSERVATIVE[0])
    template(tmp_path, ETHANOL)
    done = run_example(tmp_path, {"'femtosecond'>0.25<": "'femtosecond'>1e6<"})
    assert done.returncode == 1
    assert re.search(r"DataError: the neighbours of a structure cannot be found: a coordinate", done.stderr)

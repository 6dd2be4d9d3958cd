"""Stresses of files: sign, order, unit and kind are said by the options, and what is missing is refused."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from jointkd.data.options import FileData
from jointkd.data.readers import extxyz
from jointkd.data.readers.stress import StressForm
from jointkd.errors import ConfigError, DataError
from tests.files import saved

ASE = {"kind": "stress", "positive": "tension", "order": ["xx", "yy", "zz", "yz", "xz", "xy"]}
VASP = {"kind": "stress", "positive": "compression", "order": ["xx", "yy", "zz", "xy", "yz", "zx"], "unit": "kbar"}
TENSOR = np.array([[1.0, 4, 6], [4, 2, 5], [6, 5, 3]]) / 100  # eV/Å³


def salt(**info) -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.info.update(info)
    return atoms


def read(options: dict, value, key: str = "s", length: float = 1.0, energy: str = "eV") -> np.ndarray:
    return StressForm.of(key, options, energy).read(salt(**{key: value}), length, "mine.xyz frame 0")


def test_six_values_stand_in_the_order_of_the_options():
    assert read(ASE, [0.01, 0.02, 0.03, 0.05, 0.06, 0.04]) == pytest.approx(TENSOR)
    vasp = -np.array([1, 2, 3, 4, 5, 6]) / 100 / (0.1 * units.GPa)
    assert read(VASP, vasp) == pytest.approx(TENSOR)


def test_nine_values_need_no_order_and_a_virial_is_divided_by_the_volume():
    virial = {"kind": "virial", "positive": "compression"}
    volume = salt().get_volume()
    assert read(virial, (-volume * TENSOR).tolist()) == pytest.approx(TENSOR)
    meV = read(virial, (-1e3 * volume * TENSOR).ravel(), energy="meV")
    assert meV == pytest.approx(TENSOR)
    in_bohr = read(virial, -volume * TENSOR * units.Bohr**3, length=units.Bohr)  # the cell of the file is in Bohr
    assert in_bohr == pytest.approx(TENSOR)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "stress"}, "data.stress.positive=null"),
        ({"kind": "stres", "positive": "tension"}, "did you mean stress"),
        ({**ASE, "order": ["xx", "yy", "zz", "yz", "xz", "xz"]}, "must name six components"),
        ({**ASE, "order": "xx yy zz yz xz xy"}, "must be a list"),
        ({**ASE, "unit": "GPA"}, "did you mean GPa"),
    ],
)
def test_options_that_leave_it_open_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        StressForm.of("s", options, "eV")


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        ([1, 2, 3, 4, 5, 6], {"kind": "stress", "positive": "tension"}, "six values, whose order"),
        ([1, 2, 3], ASE, "six or nine finite numbers"),
        ([1, 2, 3, 4, 5, np.nan], ASE, "six or nine finite numbers"),
        (np.arange(9.0), ASE, "is not symmetric"),
        ("large", ASE, "must be numbers"),
    ],
)
def test_values_that_are_no_stress_are_refused_with_their_frame(value, options, message):
    with pytest.raises(DataError, match=message) as error:
        read(options, value)
    assert "mine.xyz frame 0" in str(error.value)


def test_structures_without_a_stress_or_a_cell_are_refused():
    form = StressForm.of("s", ASE, "eV")
    with pytest.raises(DataError, match=r"no stress under data.stress_key=s \(it has t\)"):
        form.read(salt(t=1), 1.0, "x frame 3")
    with pytest.raises(DataError, match="is not periodic along three vectors"):
        form.read(molecule("H2O"), 1.0, "x frame 3")


def test_the_stress_of_an_ase_calculator_is_read_as_the_calculator_gave_it(tmp_path):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=0)
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
    kept = atoms.copy()
    kept.calc = SinglePointCalculator(kept, **results)
    saved(tmp_path / "cu.xyz", [kept])
    options = FileData(name="cu", path=str(tmp_path / "cu.xyz"), stress_key="stress", stress=ASE)
    frames, _ = options.reader()()
    (frame,) = frames
    assert frame.stress == pytest.approx(atoms.get_stress(voigt=False), abs=1e-7)


def test_the_name_of_a_set_without_stresses_is_as_before(tmp_path):
    options = FileData(name="a", path="a.xyz", stress={"kind": "stress", "positive": None})
    assert options.reader().func is extxyz.read
    assert not options.reader().keywords


@pytest.mark.parametrize("option", ["reference", "missing"])
def test_a_teachers_energies_with_the_stresses_of_a_file_are_refused(option):
    with pytest.raises(ConfigError, match=f"data.stress_key=s is not used with data.{option}=teacher"):
        FileData(name="a", path="a.xyz", stress_key="s", stress=ASE, **{option: "teacher"})

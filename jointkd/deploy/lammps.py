"""A student in LAMMPS: `attach(lmp, "student.safetensors", elements=["H", "O"])` makes it a `fix external`.

The fix has the energy, per-atom energies, forces and virial. Where the student says how uncertain the force on each
atom is, the custom per-atom vector `d_jointkd_uncertainty` holds it (eV/Å). On several MPI ranks each computes its own
atoms.

Python code that LAMMPS calls cannot raise through it: ctypes prints an exception and goes on. So a failed callback ends
the run at its step, and the exception is raised again when the command that ran returns.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from jointkd.deploy.evaluator import Results
from jointkd.deploy.force_field import ForceField
from jointkd.deploy.ranks import RanksForceField
from jointkd.errors import ConfigError, MissingExtra
from jointkd.trust import Consent

COMMANDS = ("command", "commands_list", "commands_string", "file")  # the methods of a `lammps.lammps` that may run
VOIGT = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))  # LAMMPS's order


def attach(
    lmp: Any,
    student: str | Path,
    elements: Sequence[str],
    device: str | None = None,
    dtype: str | None = None,
    trust: Consent = None,
    fix: str = "jointkd",
) -> "Callback":
    """Add a student to a `lammps.lammps` whose box exists, as a fix of the name `fix`, until `unfix`.

    Uncertainties of forces, where the student gives them, are in the vector `d_{fix}_uncertainty` of a fix
    property/atom `{fix}_uncertainty`, which stays when the student is gone.

    elements: the chemical symbol of each atom type, in their order; other arguments as those of `JointKD`. Raises
    ConfigError for units other than metal, symbols that do not fit the types, or a fix of that name, and what `JointKD`
    raises; on several MPI ranks, which all must call it, MissingExtra without mpi4py, and ConfigError for a package. A
    student with a force head has no virial: the pressure is then not a number.
    """
    require(lmp, elements, fix)
    numbers = np.array([atomic_numbers[symbol] for symbol in elements])
    callback: Callback
    if lmp.extract_setting("world_size") == 1:
        callback = Callback(lmp, ForceField(student, device, dtype, trust), numbers, fix)
    else:
        callback = RanksCallback(lmp, RanksForceField(communicator(lmp), student, device, dtype, trust), numbers, fix)
    callback.force_field.check(numbers)
    if callback.vector is not None:
        lmp.command(f"fix {fix}_uncertainty all property/atom {callback.vector}")
    lmp.command(f"fix {fix} all external pf/callback 1 1")
    lmp.command(f"fix_modify {fix} energy yes virial yes")
    lmp.set_fix_external_callback(fix, callback)
    for name in COMMANDS:
        setattr(lmp, name, callback.raising(getattr(lmp, name)))
    return callback


def require(lmp: Any, elements: Sequence[str], fix: str) -> None:
    """Raise ConfigError for a LAMMPS to which a student cannot be added."""
    units = lmp.extract_global("units")
    if units != "metal":
        raise ConfigError(f"the units of LAMMPS are {units}, but a student has eV and Å", "begin with: units metal")
    if not lmp.extract_setting("box_exist"):
        raise ConfigError("LAMMPS has no box yet", "attach the student after create_box or read_data")
    types = lmp.extract_global("ntypes")
    if isinstance(elements, str) or len(elements) != types:
        raise ConfigError(f"elements={elements}, but LAMMPS has {types} atom types", "give one symbol for each type")
    unknown = [symbol for symbol in elements if atomic_numbers.get(symbol, 0) < 1]
    if unknown:
        raise ConfigError(f"elements names {unknown[0]}, which is no element", "give chemical symbols, as H or Cl")
    if lmp.has_id("fix", fix):
        raise ConfigError(f"LAMMPS has a fix {fix} already", f"unfix {fix} first, or give fix=NAME")


def communicator(lmp: Any) -> Any:
    """The MPI communicator of LAMMPS. Raises MissingExtra without mpi4py."""
    found = lmp.get_mpi_comm()
    if found is None:
        ranks = lmp.extract_setting("world_size")
        raise MissingExtra(f"LAMMPS runs on {ranks} MPI ranks, which needs mpi4py", "pip install mpi4py")
    return found


class Callback:
    """What LAMMPS calls in every step; see `attach`. numbers: the atomic number of each atom type."""

    def __init__(self, lmp: Any, force_field: ForceField, numbers: np.ndarray, fix: str) -> None:
        self.lmp, self.force_field, self.fix = lmp, force_field, fix
        self.numbers = numbers
        self.vector = f"d_{fix}_uncertainty" if force_field.model.gives_uncertainty else None
        self.command = lmp.command
        self.error: BaseException | None = None  # of the run that goes on

    def __call__(self, _: Any, step: int, atoms: int, tags: np.ndarray, positions: np.ndarray, f: np.ndarray) -> None:
        """Fill forces f [N, 3] eV/Å, and set energies (eV) and virial. positions [N, 3] Å."""
        f[:] = 0
        try:
            types = self.lmp.numpy.extract_atom("type")[:atoms]
            results = self.force_field(self.numbers[types - 1], positions, *box(self.lmp))
            self.hand_over(results)
            f[:] = results.forces
        except BaseException as error:
            self.stop(error)

    def stop(self, error: BaseException) -> None:
        """End the run after this step, and let the command that runs it raise the first error of it."""
        self.error = self.error or error
        self.lmp.force_timeout()

    def interrupt(self, error: BaseException) -> None:
        """End the run for Ctrl-C."""
        self.stop(error)

    def total(self, energies: np.ndarray) -> float:
        """The sum of the energies (eV) of all atoms. energies: those of a step."""
        return float(energies.sum())

    def hand_over(self, results: Results) -> None:
        """Give LAMMPS the energies, the uncertainties of forces and the virial of this step.

        The sign of the virial is that of a pressure: −∂E/∂ε.
        """
        conservative = self.force_field.model.conservative
        virial = [-float(results.virial[pair]) if conservative else np.nan for pair in VOIGT]
        self.lmp.fix_external_set_energy_global(self.fix, self.total(results.atomic_energies))
        self.lmp.fix_external_set_energy_peratom(self.fix, results.atomic_energies)
        self.lmp.fix_external_set_virial_global(self.fix, virial)
        own = results.force_uncertainty
        if own is not None and len(own):
            self.lmp.numpy.extract_atom(self.vector)[: len(own)] = own

    def raising(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A method of LAMMPS that raises what went wrong in a callback meanwhile."""

        @wraps(method)
        def run(*arguments: Any, **options: Any) -> Any:
            try:
                with interrupts(self.interrupt):
                    return method(*arguments, **options)
            finally:
                error, self.error = self.error, None
                if error is not None:
                    self.command("timer timeout off")  # without which the next run would end at once
                    raise error

        return run


class RanksCallback(Callback):
    """As `Callback`, on several MPI ranks, which must end a run at the same step."""

    force_field: RanksForceField

    def __call__(self, *given: Any) -> None:
        self.force_field.failure = self.error
        super().__call__(*given)

    def interrupt(self, error: BaseException) -> None:
        """Let the next step end the run, as all ranks learn of it there."""
        self.error = self.error or error

    def total(self, energies: np.ndarray) -> float:
        return self.force_field.total(energies)


@contextmanager
def interrupts(stop: Callable[[BaseException], None]) -> Iterator[None]:
    """Give a KeyboardInterrupt to `stop` at Ctrl-C: one that is raised as LAMMPS calls Python would be lost."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: stop(KeyboardInterrupt()))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def box(lmp: Any) -> tuple[np.ndarray, np.ndarray]:
    """Lattice vectors [3, 3] Å and periodicity [3] of the present box."""
    low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
    x, y, z = np.subtract(high, low)
    return np.array([[x, 0, 0], [xy, y, 0], [xz, yz, z]]), np.array(periodic, dtype=bool)

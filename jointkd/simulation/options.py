"""The options of a simulation, with their ranges."""

import math
from dataclasses import dataclass

from jointkd.errors import ConfigError
from jointkd.simulation.stability import STOPS

CHOICES = {"ensemble": ("nvt", "nve"), "dtype": ("float32", "float64"), "stop_when": tuple(STOPS)}
POSITIVE = ("timestep", "friction", "bond_tolerance")
NOT_NEGATIVE = ("temperature", "seed")
COUNTS = ("steps", "interval")


@dataclass(frozen=True)
class SimulationOptions:
    """Options of a simulation of one structure with a student. Raises ConfigError for a value out of its range."""

    run: str  # the folder of a finished run, a student's file or a package
    structures: str  # a file that ASE reads
    directory: str  # folder of the results
    index: int = 0  # of the structure in the file, counted from 0; -1 is the last one
    ensemble: str = "nvt"  # nvt: Langevin; nve: velocity Verlet
    temperature: float = 300.0  # K; for nve, of the initial velocities
    timestep: float = 1.0  # fs
    friction: float = 0.01  # 1/fs, for nvt
    steps: int = 10000
    interval: int = 50  # steps between frames of the trajectory, lines of the log and checks of the stability
    stop_when: str = "broken"  # broken: fragments or a close contact; bond: a bond deviates, as in the paper; never
    bond_tolerance: float = 0.5  # Å, by which the length of a bond may deviate from its equilibrium: the paper's Δ
    contact: float = 0.6  # two atoms nearer than this fraction of the sum of their covalent radii are in contact
    seed: int = 0
    device: str | None = None  # None: cuda if available, else cpu
    dtype: str = "float32"
    trust: str | list[str] | bool | None = None  # import paths that the file may name; True: a package, which is code

    def __post_init__(self) -> None:
        for name in POSITIVE:
            self._require(name, 0 < getattr(self, name) < math.inf, "must be a positive number")
        for name in NOT_NEGATIVE:
            self._require(name, 0 <= getattr(self, name) < math.inf, "must not be negative, and must be finite")
        for name in COUNTS:
            self._require(name, getattr(self, name) >= 1, "must be a positive integer")
        self._require("contact", 0 <= self.contact < 1, "must be from 0 to below 1")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"{name}={getattr(self, name)} is not known", f"choose one of {', '.join(known)}")

    def _require(self, name: str, valid: bool, requirement: str) -> None:
        if not valid:
            default = type(self).__dataclass_fields__[name].default
            raise ConfigError(f"{name}={getattr(self, name)} {requirement}", f"the default is {default}")

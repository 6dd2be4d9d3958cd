"""The options of a simulation, with their ranges."""

import math
from dataclasses import dataclass, field

from jointkd.errors import ConfigError
from jointkd.simulation.stability import STOPS

CHOICES = {"ensemble": ("nvt", "nve"), "dtype": ("float32", "float64"), "stop_when": tuple(STOPS)}
POSITIVE = ("timestep", "friction", "bond_tolerance")
NOT_NEGATIVE = ("temperature", "shortest")
COUNTS = ("steps", "interval", "save")


@dataclass(frozen=True)
class SimulationOptions:
    """Options of a simulation with a student, of one structure or of several at once. Raises ConfigError.

    Lists of runs, structures or seeds make a simulation of several: each structure with each seed, run by run.
    """

    run: str | list[str]  # the folder of a finished run, a student's file or a package
    directory: str  # folder of the results
    structures: str | None = None  # a file that ASE reads; None: the test structures of the run, of which several
    index: int | str | list[int] = 0  # in the file, counted from 0; -1 is the last one; all
    sample: int | None = None  # structures that are drawn at random, instead of index
    ensemble: str = "nvt"  # nvt: Langevin; nve: velocity Verlet
    temperature: float = 300.0  # K; for nve, of the initial velocities
    timestep: float = 1.0  # fs
    friction: float = 0.01  # 1/fs, for nvt
    steps: int = 10000
    interval: int = 50  # steps between frames of the trajectory, lines of the log and checks of the stability
    stop_when: str = "broken"  # broken: fragments or a close contact; bond: a bond deviates, as in the paper; never
    committee: list[str] = field(default_factory=list)  # other students, which look at the structure at each check
    uncertainty: float | None = None  # eV/Å, how uncertain the force on an atom may be, by them or by the student alone
    bond_tolerance: float = 0.5  # Å, by which the length of a bond may deviate from its equilibrium: the paper's Δ
    contact: float = 0.6  # two atoms nearer than this fraction of the sum of their covalent radii are in contact
    shortest: float = 0.7  # Å; atoms nearer than this are in contact too, except in a molecule of hydrogen
    seed: int | list[int] = 0
    save: int = 5000  # steps after which a simulation of several structures saves the state from which it can go on
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
        for seed in self.seeds:
            self._require("seed", 0 <= seed < math.inf, "must not be negative, and must be finite")
        self._require("sample", self.sample is None or self.sample >= 1, "must be a positive integer or null")
        named = self.index == "all" or not isinstance(self.index, str)
        self._require("index", named and self.index != [], "must be a number, a list of numbers or all")
        self._require("seed", bool(self.seeds) and len(set(self.seeds)) == len(self.seeds), "must be different numbers")
        limited = self.uncertainty is None or 0 < self.uncertainty < math.inf
        self._require("uncertainty", limited, "must be a positive number or null")
        self._require("contact", 0 <= self.contact < 1, "must be from 0 to below 1")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"{name}={getattr(self, name)} is not known", f"choose one of {', '.join(known)}")

    @property
    def seeds(self) -> list[int]:
        """The seeds of each structure."""
        return self.seed if isinstance(self.seed, list) else [self.seed]

    @property
    def runs(self) -> list[str]:
        """The students that are simulated, one after the other."""
        return self.run if isinstance(self.run, list) else [self.run]

    @property
    def several(self) -> bool:
        """Whether several structures, seeds or students are asked for."""
        lists = any(isinstance(value, list | str) for value in (self.index, self.seed)) or isinstance(self.run, list)
        return lists or self.sample is not None or self.structures is None

    def _require(self, name: str, valid: bool, requirement: str) -> None:
        if not valid:
            default = type(self).__dataclass_fields__[name].default
            raise ConfigError(f"{name}={getattr(self, name)} {requirement}", f"the default is {default}")

"""The options of sampling, with their ranges."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jointkd.errors import ConfigError
from jointkd.ranges import check_integer, check_number, check_seed

TEACHER = "teacher"
HOW = ("dynamics", "rattle")
MAY_CHANGE = ("output", "number", "seconds", "mover", "device", "trust")  # a student is recorded by its checksum


@dataclass(frozen=True)
class SamplingOptions:
    """How structures are made from those of a training split, and which are kept. Raises ConfigError."""

    output: str  # the file of the new structures, extended XYZ
    how: str = "dynamics"  # or rattle: random displacements, then a few steps of relaxation
    mover: str = TEACHER  # whose forces move the atoms: the teacher's, or those of a student in this folder or file
    temperatures: Sequence[float] = (300.0, 600.0)  # K, of dynamics: one trajectory from each start at each
    steps: int = 500  # of a trajectory, at most
    interval: int = 20  # steps between the structures that are looked at
    timestep: float = 1.0  # fs
    friction: float = 0.01  # 1/fs, of the Langevin thermostat
    displacement: float = 0.1  # Å, of rattle: standard deviation of each coordinate
    relax: int = 5  # of rattle: steps of relaxation
    contact: float = 0.6  # atoms nearer than this fraction of the sum of their covalent radii end a trajectory
    window: float = 0.5  # eV/atom by which the teacher's energy may exceed that of the start
    duplicate: float = 0.02  # Å; a structure must differ from those kept by more than such a random displacement
    number: int = 200  # of new structures
    seconds: float = math.inf  # of the teacher's time in this command
    seed: int = 0
    device: str | None = None  # of a student; None: cuda if available, else cpu
    trust: str | list[str] | bool | None = None  # import paths that the file may name; True: a package, which is code

    def __post_init__(self) -> None:
        if self.how not in HOW:
            raise ConfigError(f"how={self.how} is not known", f"choose one of {', '.join(HOW)}")
        if Path(self.output).suffix != ".xyz":
            raise ConfigError(f"output={self.output} must end with .xyz", "give such a name")
        if not self.temperatures:
            raise ConfigError("temperatures=[] has none", "give temperatures=[300], or several")
        for temperature in self.temperatures:
            check_number("temperatures", temperature, "K")
        check_number("contact", self.contact, zero=True)
        for name, unit in {"timestep": "fs", "friction": "1/fs", "displacement": "Å", "window": "eV/atom"}.items():
            check_number(name, getattr(self, name), unit)
        check_number("duplicate", self.duplicate, "Å", zero=True)
        check_number("seconds", self.seconds, "s", infinite=True)
        for name in ("steps", "interval", "number"):
            check_integer(name, getattr(self, name))
        if self.interval > self.steps:
            raise ConfigError(f"interval={self.interval} is longer than steps={self.steps}", "give a shorter one")
        check_integer("relax", self.relax, least=0)
        check_seed("seed", self.seed)
        if self.contact >= 1:
            raise ConfigError(f"contact={self.contact} must be below 1", "the default is 0.6")

    @property
    def by_teacher(self) -> bool:
        """Whether the teacher's forces move the atoms."""
        return self.mover == TEACHER

    def recorded(self) -> dict[str, Any]:
        """What a file of structures depends on, as JSON."""
        return {name: value for name, value in asdict(self).items() if name not in MAY_CHANGE}

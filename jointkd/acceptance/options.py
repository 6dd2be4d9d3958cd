"""What is measured of a student, for how long, and the thresholds that it must keep."""

from dataclasses import dataclass, field, fields
from typing import Any

from jointkd.errors import ConfigError, did_you_mean
from jointkd.ranges import check_integer, check_number, check_seed

PROPERTIES = ("equation_of_state", "elastic_constants", "phonons")


@dataclass(frozen=True)
class StabilityLimits:
    """Langevin dynamics of replicas."""

    temperatures: list[float] = field(default_factory=lambda: [400.0])  # K, a gate for each
    replicas: int = 36  # at each temperature: the structures in turn, with different velocities
    time: float = 1.0  # ps
    timestep: float = 1.0  # fs
    friction: float = 0.01  # 1/fs
    interval: int = 5  # steps between two checks
    contact: float = 0.6  # two atoms nearer than this fraction of the sum of their covalent radii have collapsed
    shortest: float = 0.7  # Å; two atoms nearer than this have collapsed, except in a molecule of hydrogen
    bond_tolerance: float = 0.5  # Å; bonds that deviate by more are reported, and do not fail the gate
    broken: float = 0.0  # the largest fraction of replicas that may collapse or fall apart


@dataclass(frozen=True)
class ConservationLimits:
    """Dynamics without a thermostat."""

    replicas: int = 8
    temperature: float = 300.0  # K, of the initial velocities
    time: float = 1.0  # ps, after a tenth of it to equilibrate
    timestep: float = 0.5  # fs
    drift: float = 1.0  # |drift of the total energy| over the standard deviation of the kinetic energy
    rate: float = 1.0  # meV/atom/ps


@dataclass(frozen=True)
class DimerLimits:
    """Energies of two atoms, for all pairs of elements that the student was trained on."""

    repulsive_below: float = 0.7  # of the sum of the covalent radii; nearer the energy must rise
    not_repulsive: int = 0  # pairs of elements for which it may fall


@dataclass(frozen=True)
class ConsistencyLimits:
    """What holds for every potential energy surface, in double precision."""

    structures: int = 3
    extensivity: float = 0.01  # meV/atom, of two copies far apart against twice one
    forces: float = 1.0  # meV/Å, against finite differences of the energy
    symmetry: float = 1.0  # meV/Å, of the forces on a rotated structure with its atoms in another order


@dataclass(frozen=True)
class TeacherLimits:
    """The student against its teacher."""

    frames: int = 24  # of the student's own dynamics
    force_mae: float = 150.0  # meV/Å on these frames
    frequencies: float = 50.0  # cm⁻¹, mean absolute error of vibrational frequencies at a minimum of the student
    relaxation: float = 0.01  # eV/Å, the largest force at that minimum
    radial: float = 0.15  # of the radial distribution of a periodic structure, ∫|g - g_teacher| / ∫g_teacher
    radial_time: float = 0.5  # ps, of both dynamics
    speedup: float = 2.0  # times as fast per step as the teacher, at least


@dataclass(frozen=True)
class CrystalLimits:
    """The student against its teacher in a crystal, each at its own minimum."""

    properties: list[str] = field(default_factory=lambda: list(PROPERTIES))  # that are compared; empty: none
    relaxation: float = 0.001  # eV/Å, the largest force at a minimum
    volume: float = 1.0  # %, error of the volume in equilibrium
    bulk_modulus: float = 10.0  # %
    elastic_constants: float = 15.0  # %, Σ|C - C_teacher| / Σ|C_teacher|
    frequencies: float = 10.0  # cm⁻¹, mean absolute error of phonons
    imaginary: int = 0  # modes that are imaginary with the student and not with the teacher
    supercell: float = 10.0  # Å, the extent of the supercell whose wave vectors are looked at
    most_atoms: int = 128  # of it, and of structures that are taken for crystals


GROUPS = ("stability", "conservation", "dimers", "consistency", "against_teacher", "crystal")
INTEGERS = {"replicas", "interval", "structures", "frames", "most_atoms"}
FROM_ZERO = {"broken", "drift", "rate", "not_repulsive", "extensivity", "forces", "symmetry", "contact", "shortest"}
FROM_ZERO |= {"force_mae", "frequencies", "radial", "speedup", "bond_tolerance"}
FROM_ZERO |= {"volume", "bulk_modulus", "elastic_constants", "imaginary"}


@dataclass(frozen=True)
class AcceptanceOptions:
    """Options of the gates. Raises ConfigError for a value out of its range."""

    stability: StabilityLimits = StabilityLimits()
    conservation: ConservationLimits = ConservationLimits()
    dimers: DimerLimits = DimerLimits()
    consistency: ConsistencyLimits = ConsistencyLimits()
    against_teacher: TeacherLimits = TeacherLimits()
    crystal: CrystalLimits = CrystalLimits()
    seed: int = 0  # of the choice of structures, velocities and thermostats
    device: str | None = None  # None: cuda if available, else cpu

    def __post_init__(self) -> None:
        check_seed("seed", self.seed)
        for group in GROUPS:
            for each in fields(getattr(self, group)):
                check(f"{group}.{each.name}", each.name, getattr(getattr(self, group), each.name))


def check(option: str, name: str, value: Any) -> None:
    """Raise ConfigError for a value that an option cannot take."""
    if name == "properties":
        for each in value:
            if each not in PROPERTIES:
                raise ConfigError(
                    f"{option} has {each}, which is not compared",
                    f"{did_you_mean(str(each), PROPERTIES)}choose from {', '.join(PROPERTIES)}",
                )
    elif isinstance(value, list):
        check_integer(f"the number of {option}", len(value))
        for each in value:
            check_number(option, each)
    elif name in INTEGERS:
        check_integer(option, value)
    else:
        check_number(option, value, zero=name in FROM_ZERO)

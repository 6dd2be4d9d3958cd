"""Charges and spins that data files state of their structures, and whether a teacher takes them."""

from collections.abc import Sequence

from ase import Atoms

from jointkd.errors import TeacherError
from jointkd.structures.frame import CHARGES, SPINS, Frame
from jointkd.teachers.base import Teacher

KEYS = {"charge": CHARGES, "spin": SPINS}


def charge_or_spin(frame: Frame, name: str, default: int) -> int:
    """The charge or the spin (2S + 1) of a structure. Raises TeacherError if its file gives one that is no integer."""
    value = next((frame.info[key] for key in KEYS[name] if key in frame.info), default)
    try:
        if float(value) == int(value):
            return int(value)
    except (TypeError, ValueError):
        pass
    raise TeacherError(f"{name}={value!r} of {frame.source or frame.key} must be an integer", "correct the file")


def is_charged(frame: Frame) -> bool:
    """Whether a structure is stated to be charged, or to have unpaired electrons."""
    return charge_or_spin(frame, "charge", 0) != 0 or charge_or_spin(frame, "spin", 1) > 1


def with_charge(frame: Frame) -> Atoms:
    """A structure with its charge and spin where ASE calculators look for them: `info`, or sums over the atoms."""
    atoms = frame.to_ase()
    if is_charged(frame):
        charge, spin = charge_or_spin(frame, "charge", 0), charge_or_spin(frame, "spin", 1)
        atoms.info.update(charge=charge, spin=spin)
        atoms.set_initial_charges([charge / len(frame)] * len(frame))
        atoms.set_initial_magnetic_moments([(spin - 1) / len(frame)] * len(frame))
    return atoms


def check_charges(frames: Sequence[Frame], teacher: Teacher) -> None:
    """Raises TeacherError if structures state a charge or spin and the teacher would take them for neutral singlets."""
    if getattr(teacher, "takes_charge", False):
        return
    charged = [frame for frame in frames if is_charged(frame)]
    if charged:
        refuse(charged[0], f"{len(charged)} of {len(frames)} structures", teacher.identity.name)


def refuse(frame: Frame, which: str, teacher: str) -> None:
    """Raises TeacherError for a structure whose charge or spin a teacher does not take."""
    charge, spin = charge_or_spin(frame, "charge", 0), charge_or_spin(frame, "spin", 1)
    raise TeacherError(
        f"teacher {teacher} takes no charge and no spin, but {which} have them ({frame.source or frame.key}: charge "
        f"{charge:+d}, spin 2S + 1 = {spin})",
        "leave such structures out, or choose a teacher that takes them",
    )

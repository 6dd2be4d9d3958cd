"""A student as a driver of i-PI, which reads it from a file of the user's that imports it:

    from jointkd.deploy.ipi import __DRIVER_CLASS__, JointKDDriver

This file itself is called as i-PI is, whose modules it would hide where it is given as `pes_path`.
"""

import json
from typing import Any

import numpy as np
from ase.io import read
from ipi.pes.dummy import Dummy_driver
from ipi.utils.units import unit_to_internal, unit_to_user

from jointkd.deploy.evaluator import Results
from jointkd.deploy.force_field import ForceField
from jointkd.errors import ConfigError, DataError

__DRIVER_NAME__ = "jointkd"
__DRIVER_CLASS__ = "JointKDDriver"

OF_IPI = {"verbose", "verbosity"}  # what i-PI itself adds


class JointKDDriver(Dummy_driver):
    """A student as a driver of i-PI.

    template: a file that ASE reads, whose elements and periodic axes are those of the simulation; student: the folder
    of a finished run, a student's file or a package; device, dtype, trust: as for `JointKD`. Raises ConfigError for
    other parameters, and DataError for a template that cannot be read, for elements on which the student was not
    trained, and for positions that are not finite. A student with a force head has no virial: pressures are then not
    numbers. The extra `force_uncertainty` says how uncertain the force on each atom is (eV/Å), where the student does.
    """

    def __init__(
        self,
        template: str,
        student: str,
        device: str | None = None,
        dtype: str | None = None,
        trust: Any = None,
        **others: Any,
    ) -> None:
        unknown = [name for name in others if name not in OF_IPI]
        if unknown:
            raise ConfigError(
                f"the driver of a student does not know {unknown[0]}", "give template, student, device, dtype or trust"
            )
        self.template = template
        self.force_field = ForceField(student, device, dtype, trust)
        super().__init__(**others)

    def check_parameters(self) -> None:
        """Read the template; i-PI calls this."""
        try:
            atoms: Any = read(self.template)
        except Exception as error:  # readers of ASE raise of every kind
            problem = f"template={self.template} cannot be read ({error})"
            raise DataError(problem, "give a file that ASE reads") from error
        self.numbers, self.pbc = atoms.numbers, atoms.pbc
        self.force_field.check(self.numbers)

    def compute_structure(self, cell: np.ndarray, pos: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, str]:
        """Energy, forces [N, 3] and virial [3, 3] in atomic units, and extras; see there.

        cell [3, 3] (columns) and pos [N, 3] likewise in atomic units.
        """
        positions, vectors = (np.array(unit_to_user("length", "angstrom", length)) for length in (pos, cell.T))
        if len(positions) != len(self.numbers):
            raise DataError(
                f"i-PI has {len(positions)} atoms, but template={self.template} {len(self.numbers)}",
                "give the structure of the simulation as template",
            )
        results = self.force_field(self.numbers, positions, vectors, self.pbc)
        virial = -results.virial if self.force_field.model.conservative else np.full((3, 3), np.nan)
        return (
            unit_to_internal("energy", "electronvolt", float(results.atomic_energies.sum())),
            unit_to_internal("force", "ev/ang", results.forces),
            unit_to_internal("energy", "electronvolt", virial),
            extras(results),
        )


def extras(results: Results) -> str:
    """What i-PI gives out as extras, in JSON: `force_uncertainty` [N] in eV/Å, where the student says it."""
    own = results.force_uncertainty
    return "" if own is None else json.dumps({"force_uncertainty": own.tolist()})

"""What openmm-ml finds by the entry point `openmmml.potentials`, and imports whenever it is imported itself.

It imports nothing until a student is asked for: neither torch, for which others would wait, nor openmm-ml, of which not
all is there yet.
"""

from typing import Any


class Factory:
    """Makes what `MLPotential("jointkd", …)` stands for; an MLPotentialImplFactory by its method."""

    def createImpl(self, name: str, **options: Any) -> Any:
        """The potential of a student. options: the arguments of `Potential`, which says what is raised."""
        from jointkd.deploy.openmm import Potential

        return Potential(**options)

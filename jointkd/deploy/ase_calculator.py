"""What our ASE calculators have in common."""

from ase.calculators.calculator import Calculator
from ase.outputs import Properties, all_outputs


class CalculatorWithMore(Calculator):
    """An ASE calculator whose `results` may also hold what ASE has no name for."""

    def export_properties(self) -> Properties:
        """Of the results those that ASE has a name for; for others it raises. `Atoms.get_properties` calls this."""
        return Properties({name: value for name, value in self.results.items() if name in all_outputs})

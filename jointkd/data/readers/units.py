"""Units that a data file may come in; inside jointkd everything is eV and Å."""

from difflib import get_close_matches

from ase import units

from jointkd.errors import ConfigError

ENERGY = {
    "eV": 1.0,
    "meV": 1e-3,
    "hartree": units.Hartree,
    "kcal/mol": units.kcal / units.mol,
    "kJ/mol": units.kJ / units.mol,
}
LENGTH = {"angstrom": 1.0, "bohr": units.Bohr, "nm": 10.0}


def factor(name: str, table: dict[str, float], option: str) -> float:
    """How many eV (or Å) one `name` is. Raises ConfigError for a unit that is not known."""
    if name not in table:
        near = get_close_matches(str(name), table, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"{option}={name!r} is not a known unit", f"{hint}known are {', '.join(table)}")
    return table[name]

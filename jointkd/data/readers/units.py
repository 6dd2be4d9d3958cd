"""Units that a data file may come in; inside jointkd everything is eV and Å."""

from ase import units

from jointkd.errors import ConfigError, did_you_mean

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
        hint = did_you_mean(str(name), table, likeness=0.3)
        raise ConfigError(f"{option}={name!r} is not a known unit", f"{hint}known are {', '.join(table)}")
    return table[name]

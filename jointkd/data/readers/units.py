"""Units of data files, as factors to eV and Å, the units inside jointkd."""

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
    """The size of a unit in eV or Å. Raises ConfigError for an unknown unit."""
    if name not in table:
        hint = did_you_mean(str(name), table, likeness=0.3)
        raise ConfigError(f"{option}={name!r} is not a known unit", f"{hint}choose one of {', '.join(table)}")
    return table[name]

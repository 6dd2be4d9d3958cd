"""The four atoms of a dihedral from a SMARTS pattern, by RDKit."""

import logging
from typing import Any

from ase import Atoms

from jointkd.errors import ConfigError, DataError, MissingExtra, first_line
from jointkd.simulation.dihedrals import check_molecule
from jointkd.simulation.stability import bonds_of, label

log = logging.getLogger(__name__)

MAPPED = [1, 2, 3, 4]  # numbers of the four atoms in a larger pattern, as in [C:1]
MOST_TRIALS = 1_000_000  # of bond orders
MOST_MATCHES = 1_000_000
INSTEAD = "give four atoms as dihedral=[i,j,k,l], counted from 0"

Four = tuple[int, ...]  # atoms, counted from 0


def find_dihedral(structure: Atoms, smarts: str, charge: int, place: str) -> Four:
    """The four atoms of a molecule that match a pattern, and a line in the log that says which.

    Bonds are those of `bonds_of`; their orders follow from them and the total charge (e). Matches about one bond, as
    those of the hydrogen atoms of a methyl group, differ in where the angle is zero: the first is taken, and the line
    lists all. place: names the structure in messages. Raises MissingExtra; ConfigError for a pattern that is invalid,
    has not four atoms, matches nothing or matches several bonds; DataError for a structure that is periodic or whose
    bond orders cannot be determined.
    """
    check_molecule(structure, place)
    try:
        from rdkit import Chem, rdBase
    except ImportError as error:
        remedy = f"pip install 'jointkd[smarts]', or {INSTEAD}"
        raise MissingExtra(f"dihedral={smarts} is a SMARTS pattern, which needs RDKit", remedy, "smarts") from error
    with rdBase.BlockLogs():  # RDKit would print what the errors say
        pattern = Chem.MolFromSmarts(smarts)
        members = four_of(pattern, smarts)
        molecule = with_bond_orders(structure, charge, place)
        matches = molecule.GetSubstructMatches(pattern, uniquify=False, maxMatches=MOST_MATCHES)
        name = f"{place}, {Chem.MolToSmiles(Chem.RemoveHs(molecule))},"
    fours = {tuple(match[atom] for atom in members) for match in matches}
    found = sorted(four for four in fours if four[::-1] not in fours or four < four[::-1])  # each in one direction
    if not found:
        raise ConfigError(f"dihedral={smarts}: {name} has no such atoms", f"change the pattern, or {INSTEAD}")
    listed = [f"{'-'.join(label(structure, atom) for atom in four)} {list(four)}" for four in found]
    if len({frozenset(four[1:3]) for four in found}) > 1:
        raise ConfigError(
            f"dihedral={smarts}: {name} has such atoms about several bonds: {', '.join(listed)}",
            "choose one, as dihedral=[i,j,k,l], or narrow the pattern",
        )
    others = f"; about the same bond are {', '.join(listed[1:])}" if len(listed) > 1 else ""
    log.info("dihedral=%s of %s is %s%s", smarts, name, listed[0], others)
    return found[0]


def four_of(pattern: Any, smarts: str) -> list[int]:
    """The places, in a pattern of RDKit, of its four atoms or of those mapped :1 to :4. Raises ConfigError."""
    remedy = f"give one such as '[CX4][CX4]-[OX2][#1]', or {INSTEAD}"
    if pattern is None or not pattern.GetNumAtoms():
        raise ConfigError(f"dihedral={smarts} is not a SMARTS pattern", remedy)
    numbers = [atom.GetAtomMapNum() for atom in pattern.GetAtoms()]
    if any(numbers):
        if sorted(filter(None, numbers)) != MAPPED:
            raise ConfigError(f"dihedral={smarts} must map each of :1, :2, :3 and :4 once", remedy)
        return [numbers.index(number) for number in MAPPED]
    if len(numbers) != 4:
        of_larger = "give one of four atoms, or map four atoms of a larger one as :1, :2, :3 and :4"
        raise ConfigError(f"dihedral={smarts} has {len(numbers)} atoms", of_larger)
    return [0, 1, 2, 3]


def with_bond_orders(structure: Atoms, charge: int, place: str) -> Any:
    """A molecule of RDKit with the atoms of a structure in their order. charge: total, e. Raises DataError."""
    from rdkit import Chem
    from rdkit.Chem import rdDetermineBonds

    molecule = Chem.RWMol()
    for number in structure.numbers.tolist():
        molecule.AddAtom(Chem.Atom(number))
    for first, second in bonds_of(structure).atoms.tolist():
        molecule.AddBond(first, second, Chem.BondType.SINGLE)
    try:
        rdDetermineBonds.DetermineBondOrders(molecule, charge=charge, embedChiral=False, maxIterations=MOST_TRIALS)
        Chem.SanitizeMol(molecule)
    except (ValueError, RuntimeError) as error:  # no orders for this charge; too many trials
        raise DataError(
            f"RDKit finds no bond orders for {place} with a total charge of {charge} ({first_line(error)})",
            f"state its charge as charge=… in the file, or {INSTEAD}",
        ) from error
    return molecule

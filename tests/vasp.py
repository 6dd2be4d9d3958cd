"""Output files of VASP, as far as ASE reads them."""

from pathlib import Path

import numpy as np
from ase import Atoms


def varray(name: str, values: np.ndarray) -> str:
    lines = "".join(f"<v>{' '.join(f'{x:.12f}' for x in row)}</v>" for row in values)
    return f'<varray name="{name}">{lines}</varray>'


def structure(atoms: Atoms, name: str = "") -> str:
    label = f' name="{name}"' if name else ""
    crystal = f"<crystal>{varray('basis', atoms.cell.array)}</crystal>"
    return f"<structure{label}>{crystal}{varray('positions', atoms.get_scaled_positions(wrap=False))}</structure>"


def vasprun(path: Path, steps: list[tuple[Atoms, float, np.ndarray]]) -> Path:
    """A vasprun.xml of a relaxation with structures, energies (eV) and forces (eV/Å).

    The energies are those extrapolated to zero broadening; the free energies are lower by 0.01 eV.
    """
    first = steps[0][0]
    species = "".join(f"<rc><c>{symbol}</c><c>1</c></rc>" for symbol in first.symbols)
    content = [
        '<?xml version="1.0" encoding="ISO-8859-1"?><modeling>',
        f'<kpoints>{varray("kpointlist", np.zeros((1, 3)))}<varray name="weights"><v>1.0</v></varray></kpoints>',
        f'<atominfo><array name="atoms"><set>{species}</set></array></atominfo>',
        structure(first, "initialpos"),
    ]
    for atoms, energy, forces in steps:
        energies = f'<i name="e_fr_energy">{energy - 0.01}</i><i name="e_0_energy">{energy}</i>'
        content.append(
            f"<calculation><scstep><energy>{energies}</energy></scstep>{structure(atoms)}"
            f"{varray('forces', forces)}<energy>{energies}</energy></calculation>"
        )
    path.write_text("\n".join([*content, "</modeling>"]))
    return path


def outcar(path: Path, steps: list[tuple[Atoms, float, np.ndarray]]) -> Path:
    """The same relaxation as an OUTCAR, for atoms of one element."""
    first = steps[0][0]
    symbol, count = first.symbols[0], len(first)
    content = [
        f" POTCAR:    PAW_PBE {symbol} 02Aug2007",
        f" POTCAR:    PAW_PBE {symbol} 02Aug2007",
        "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands    NBANDS=    8",
        f"   ions per type =              {count}",
        "   ISPIN  =      1    spin polarized calculation?",
        " k-points in reciprocal lattice and weights: Gamma",
        "   0.00000000  0.00000000  0.00000000       1.000",
        "--------------------------------------- Iteration    1(   1)  -------------------------------------",
    ]
    for atoms, energy, forces in steps:
        content.append("      direct lattice vectors                 reciprocal lattice vectors")
        content += ["".join(f"{x:14.9f}" for x in (*row, *row)) for row in atoms.cell.array]
        content.append(" POSITION                                       TOTAL-FORCE (eV/Angst)")
        content.append(" " + 83 * "-")
        content += [
            "".join(f"{x:14.6f}" for x in (*position, *force))
            for position, force in zip(atoms.positions, forces, strict=True)
        ]
        content += [
            "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)",
            "  ---------------------------------------------------",
            f"  free  energy   TOTEN  =   {energy - 0.01:16.8f} eV",
            "",
            f"  energy  without entropy={energy:16.8f}  energy(sigma->0) ={energy:16.8f}",
        ]
    path.write_text("\n".join(content) + "\n")
    return path

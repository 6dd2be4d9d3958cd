"""SPICE as its authors publish it: HDF5, one group per molecule, atomic units."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms, units

from jointkd.errors import DataError
from jointkd.structures.frame import Frame

FREE_ATOMS = {  # eV by atomic number, ωB97M-D3(BJ)/def2-TZVPPD
    1: -13.571964772646918,
    6: -1030.5671648271828,
    7: -1486.3750255780376,
    8: -2043.933693071156,
    9: -2715.318528602957,
    15: -9287.407133426237,
    16: -10834.4844708122,
    17: -12522.649269035726,
    35: -70045.28385080204,
    53: -8102.524593409054,
}
FORCE = units.Hartree / units.Bohr  # eV/Å
GRADIENT = "dft_total_gradient"
FIELDS = ("atomic_numbers", "conformations", "dft_total_energy", GRADIENT)


def read(path: Path) -> tuple[Iterator[Frame], dict[int, float]]:
    """Frames of a SPICE file, molecule by molecule, and the energies of free atoms at its level (eV).

    A molecule is a group with `atomic_numbers` [N], `conformations` [M, N, 3] (bohr), `dft_total_energy` [M] (hartree),
    `dft_total_gradient` [M, N, 3] (hartree/bohr, the negative of the forces) and, as text, `smiles` and `subset`.
    `Frame.group` is the SMILES, or the name of the group where there is none. Raises DataError.
    """
    return frames(path), FREE_ATOMS


def frames(path: Path) -> Iterator[Frame]:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} is no HDF5 file ({error})", "remove it and download it again") from error
    with file:
        for name, molecule in file.items():
            yield from conformations(molecule, name, f"{path.name} {name}")


def conformations(molecule: Any, name: str, source: str) -> Iterator[Frame]:
    """The frames of one group. Raises DataError where it lacks a field or its shapes do not agree."""
    missing = [field for field in FIELDS if field not in molecule]
    if missing:
        raise DataError(
            f"{source} has no {missing[0]} (it has {', '.join(molecule)})",
            "give SPICE's own HDF5 file with energies and gradients",
        )
    numbers, positions, energies, gradients = (molecule[field][()] for field in FIELDS)
    if positions.shape != (len(energies), len(numbers), 3) or gradients.shape != positions.shape:
        raise DataError(
            f"{source} has conformations {list(positions.shape)} and gradients {list(gradients.shape)} for "
            f"{len(energies)} energies and {len(numbers)} atoms",
            "remove the file and download it again",
        )
    smiles, subset = text(molecule, "smiles"), text(molecule, "subset")
    info = {key: value for key, value in (("config_type", subset), ("smiles", smiles)) if value}
    for number, (energy, here, gradient) in enumerate(zip(energies, positions, gradients, strict=True)):
        yield Frame(
            numbers=numbers.astype(np.int64),
            positions=here.astype(float) * units.Bohr,
            energy=float(energy) * units.Hartree,
            forces=gradient.astype(float) * -FORCE,
            group=smiles or name,
            source=f"{source} conformation {number}",
            info=info,
        )


def structures(path: Path) -> Iterator[Atoms]:
    """The conformations of a file like SPICE's, whatever its labels are called and whatever units it is in.

    Fields of M entries are in `Atoms.info` (one number each) or `Atoms.arrays` ([N, 3] each) by their names, words and
    the group's name (`molecule`) in `Atoms.info`. Where there is a gradient and no `forces`, its negative is `forces`.
    """
    with h5py.File(path, "r") as file:
        for name, molecule in file.items():
            numbers, positions = molecule["atomic_numbers"][()], molecule["conformations"][()]
            words = {key: text(molecule, key) for key in molecule if h5py.check_string_dtype(molecule[key].dtype)}
            others = {key: molecule[key][()] for key in molecule.keys() - words.keys() if len(molecule[key].shape)}
            if GRADIENT in others and "forces" not in others:
                others["forces"] = -others[GRADIENT]
            for number, here in enumerate(positions):
                atoms = Atoms(numbers, here.astype(float))
                atoms.info.update(words, molecule=name)
                for key, values in others.items():
                    if values.shape == positions.shape and key != "conformations":
                        atoms.arrays[key] = values[number].astype(float)
                    elif values.shape == positions.shape[:1]:
                        atoms.info[key] = values[number]
                yield atoms


def text(molecule: Any, field: str) -> str:
    """What a group says in words, or nothing."""
    if field not in molecule:
        return ""
    value = np.ravel(molecule[field][()])[0]
    return value.decode() if isinstance(value, bytes) else str(value)

"""SPICE as its authors publish it: HDF5 with one group per molecule, in atomic units."""

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
    """Frames of a SPICE file, molecule by molecule, and the free-atom energies (eV) at its level of theory.

    A molecule is a group with `atomic_numbers` [N], `conformations` [M, N, 3] (bohr), `dft_total_energy` [M] (hartree),
    `dft_total_gradient` [M, N, 3] (hartree/bohr, the negative of the forces) and, as text, `smiles` and `subset`.
    `Frame.group` is the SMILES, or the name of the HDF5 group if it has none. Raises DataError.
    """
    return frames(path), FREE_ATOMS


def frames(path: Path) -> Iterator[Frame]:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} must be an HDF5 file ({error})", "remove it and download it again") from error
    with file:
        for name, molecule in file.items():
            yield from conformations(molecule, name, f"{path.name} {name}")


def conformations(molecule: Any, name: str, source: str) -> Iterator[Frame]:
    """The frames of one group. Raises DataError for missing fields or inconsistent shapes."""
    missing = [field for field in FIELDS if field not in molecule]
    if missing:
        raise DataError(
            f"{source} has no {missing[0]} (it has {', '.join(molecule)})",
            "give the HDF5 file that SPICE publishes, with energies and gradients",
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
    for index, (energy, coordinates, gradient) in enumerate(zip(energies, positions, gradients, strict=True)):
        yield Frame(
            numbers=numbers.astype(np.int64),
            positions=coordinates.astype(float) * units.Bohr,
            energy=float(energy) * units.Hartree,
            forces=gradient.astype(float) * -FORCE,
            group=smiles or name,
            source=f"{source} conformation {index}",
            info=info,
        )


def structures(path: Path) -> Iterator[Atoms]:
    """The conformations of a file with SPICE's layout, with any names of labels and in any units.

    Fields with one value per conformation are stored in `Atoms.info` (numbers) or `Atoms.arrays` ([N, 3]) under their
    names; strings, and the name of the group as `molecule`, are stored in `Atoms.info`. If there is a gradient but no
    field `forces`, the negative gradient is stored as `forces`.
    """
    with h5py.File(path, "r") as file:
        for name, molecule in file.items():
            numbers, positions = molecule["atomic_numbers"][()], molecule["conformations"][()]
            strings = {key: text(molecule, key) for key in molecule if h5py.check_string_dtype(molecule[key].dtype)}
            fields = {key: molecule[key][()] for key in molecule.keys() - strings.keys() if len(molecule[key].shape)}
            if GRADIENT in fields and "forces" not in fields:
                fields["forces"] = -fields[GRADIENT]
            for index, coordinates in enumerate(positions):
                atoms = Atoms(numbers, coordinates.astype(float))
                atoms.info.update(strings, molecule=name)
                for key, values in fields.items():
                    if values.shape == positions.shape and key != "conformations":
                        atoms.arrays[key] = values[index].astype(float)
                    elif values.shape == positions.shape[:1]:
                        atoms.info[key] = values[index]
                yield atoms


def text(molecule: Any, field: str) -> str:
    """A string field of a group, empty if it is missing."""
    if field not in molecule:
        return ""
    value = np.ravel(molecule[field][()])[0]
    return value.decode() if isinstance(value, bytes) else str(value)

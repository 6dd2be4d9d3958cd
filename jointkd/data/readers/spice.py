"""SPICE as its authors publish it: HDF5 with one group per molecule, in atomic units."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms, units
from ase.data import chemical_symbols

from jointkd.errors import DataError, first_line
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
NUMBERS, POSITIONS, ENERGY = "atomic_numbers", "conformations", "dft_total_energy"
STATED = {POSITIONS: "bohr", ENERGY: "hartree", GRADIENT: "hartree/bohr"}  # units that SPICE states
LARGE = 1 << 28  # bytes of a field, below which any is read
IMPLAUSIBLE = 1000  # times the bytes on disk; no measured numbers compress so well


def read(path: Path) -> tuple[Iterator[Frame], dict[int, float]]:
    """Frames of a SPICE file, molecule by molecule, and the free-atom energies (eV) at its level of theory.

    A molecule is a group with `atomic_numbers` [N], `conformations` [M, N, 3] (bohr), `dft_total_energy` [M] (hartree),
    `dft_total_gradient` [M, N, 3] (hartree/bohr, the negative of the forces) and, as text, `smiles` and `subset`.
    `Frame.group` is the SMILES, or the name of the HDF5 group if it has none. Raises DataError.
    """
    return frames(path), FREE_ATOMS


def frames(path: Path) -> Iterator[Frame]:
    """The frames of all molecules. Raises DataError."""
    for name, molecule in molecules(path):
        yield from conformations(molecule, name, f"{path.name} {name}")


def molecules(path: Path) -> Iterator[tuple[str, Any]]:
    """The name and content of each group of a file. Raises DataError for what cannot be read as such."""
    name = ""
    try:
        with h5py.File(path, "r") as file:
            for name in file:
                molecule = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
                if not isinstance(molecule, h5py.Group):
                    raise DataError(
                        f"{path.name} {name} must be a group of fields, one for each molecule", "see docs/data.md"
                    )
                yield name, molecule
    except (OSError, RuntimeError, KeyError) as error:
        place = f"{path} {name}".strip()
        raise DataError(f"{place} must be readable HDF5 ({first_line(error)})", "copy or download it again") from error


def read_field(molecule: Any, field: str, shape: tuple[int | None, ...], source: str) -> np.ndarray:
    """A field of a group. shape: its lengths, None for any.

    Raises DataError if it is missing, of another shape, or not of real numbers.
    """
    if not isinstance(dataset := molecule.get(field), h5py.Dataset):
        raise DataError(
            f"{source} has no {field} (it has {', '.join(molecule) or 'nothing'})",
            f"give an HDF5 file with {NUMBERS} [N] and {POSITIONS} [M, N, 3] for each molecule; see docs/data.md",
        )
    found = dataset.shape
    fits = found is not None and len(found) == len(shape)
    fits = fits and all(length in (None, actual) for length, actual in zip(shape, found, strict=True))
    if not fits or dataset.dtype.kind not in "iuf":
        wanted = ", ".join("M" if length is None else str(length) for length in shape)
        raise DataError(
            f"{source} must have {field} of real numbers and shape [{wanted}], not {dataset.dtype} {list(found or [])}",
            "correct the file; see docs/data.md",
        )
    check_size(dataset, f"{source}: {field}")
    values: np.ndarray = dataset[()]
    return values


def check_size(dataset: Any, name: str) -> None:
    """Raise DataError for a field that claims far more memory than it has bytes on disk."""
    size, stored = dataset.size * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if size > LARGE and size > IMPLAUSIBLE * stored:
        raise DataError(f"{name} claims {size:,} bytes and stores {stored:,}", "give a file that is whole")


def conformations(molecule: Any, name: str, source: str) -> Iterator[Frame]:
    """The frames of one group. Raises DataError for missing fields or inconsistent shapes."""
    numbers = read_field(molecule, NUMBERS, (None,), source)
    positions = read_field(molecule, POSITIONS, (None, len(numbers), 3), source)
    energies = read_field(molecule, ENERGY, (len(positions),), source)
    gradients = read_field(molecule, GRADIENT, positions.shape, source)
    for field, unit in STATED.items():
        if (stated := unit_of(molecule[field]).lower()) not in ("", unit):
            raise DataError(
                f"{source} states {stated} as the unit of {field}, and SPICE has {unit}",
                "read it with data=extxyz and the units of the file",
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
    for name, molecule in molecules(path):
        source = f"{path.name} {name}"
        numbers = read_field(molecule, NUMBERS, (None,), source)
        positions = read_field(molecule, POSITIONS, (None, len(numbers), 3), source)
        if numbers.dtype.kind == "f" or not ((numbers >= 0) & (numbers < len(chemical_symbols))).all():
            raise DataError(f"{source} must have atomic numbers in {NUMBERS}, not {numbers}", "correct the file")
        datasets = {key: entry for key in molecule if isinstance(entry := molecule.get(key), h5py.Dataset)}
        strings = {key: text(molecule, key) for key, entry in datasets.items() if h5py.check_string_dtype(entry.dtype)}
        stated = {f"{key}_units": unit for key, entry in datasets.items() if (unit := unit_of(entry))}
        shapes = (positions.shape, positions.shape[:1])
        labels = {key for key in datasets.keys() - strings.keys() - {POSITIONS} if datasets[key].shape in shapes}
        for key in labels:
            check_size(datasets[key], f"{source}: {key}")
        fields = {key: datasets[key][()] for key in labels}
        if GRADIENT in fields and "forces" not in fields:
            fields["forces"] = -fields[GRADIENT]
        for index, coordinates in enumerate(positions):
            atoms = Atoms(numbers, coordinates.astype(float))
            atoms.info.update(strings, molecule=name, **stated)
            for key, values in fields.items():
                if values.shape == positions.shape:
                    atoms.arrays[key] = values[index]
                else:
                    atoms.info[key] = values[index]
            yield atoms


def unit_of(dataset: Any) -> str:
    """The unit that a field states in its attribute `units`, empty where it has none."""
    unit = dataset.attrs.get("units", "")
    return unit.decode() if isinstance(unit, bytes) else str(unit)


def text(molecule: Any, field: str) -> str:
    """A string field of a group, empty if it is missing."""
    values = np.ravel(molecule[field][()]) if field in molecule else np.ravel("")
    value = values[0] if len(values) else ""
    return value.decode() if isinstance(value, bytes) else str(value)

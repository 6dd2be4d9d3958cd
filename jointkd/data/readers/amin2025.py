"""The splits that Amin et al. (ICLR 2025) published: LMDB files of pickled graphs, read without trusting them.

Zenodo 14759305: `SPICE/spice_separated/<subset>` and `MPtrj/MPtrj_separated_all_splits/<subset>`, each with
`{train,val,test}/data.lmdb`; in it `torch_geometric.data.Data` under the keys "0", "1", …
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from jointkd.data.readers.spice import FREE_ATOMS
from jointkd.data.splits import SPLITS
from jointkd.errors import ConfigError, DataError
from jointkd.files.safe_pickle import Refused, fields, load
from jointkd.structures.frame import Frame

DOI = "10.5281/zenodo.14759305"
ENERGIES = {  # eV
    "spice": ("y", "energy"),
    "uncorrected": ("uncorrected_total_energy",),
    "corrected": ("corrected_total_energy", "y", "energy"),
}
FORCES = ("force", "forces")  # eV/Å
PLAIN = {"dataset_name": "config_type", "smiles": "smiles", "mp_id": "mp_id", "bandgap": "bandgap", "fid": "frame_id"}


def read(source: str | Path | None, folder: str, energy: str) -> tuple[Iterator[Frame], dict[int, float]]:
    """Frames of one subset with their splits, and energies of free atoms (eV; of SPICE alone).

    source: the directory where the record was unpacked; folder: the subset's name in it; energy: `spice`, whose
    molecules are not periodic, or of crystals `corrected` or `uncorrected`. Raises ConfigError, DataError.
    """
    if energy not in ENERGIES:
        raise ConfigError(f"data.energy={energy!r} is not known", f"choose one of {', '.join(ENERGIES)}")
    if source is None:
        raise DataError(
            f"data.split=amin2025 reads {folder} of the record doi:{DOI}",
            "download and unpack it, and give data.source=DIRECTORY where it is",
        )
    return frames(find(Path(source).expanduser(), folder), energy), FREE_ATOMS if energy == "spice" else {}


def find(source: Path, folder: str) -> Path:
    """The folder of a subset: `source` itself or below it. Raises DataError."""
    candidates = [source, *sorted(path for path in source.rglob(Path(folder).name) if path.is_dir())]
    for path in candidates:
        if all((path / split).is_dir() for split in SPLITS):
            return path
    raise DataError(
        f"{source} has no {folder} with train, val and test in it",
        f"unpack the record doi:{DOI} there, or give data.source=DIRECTORY where it is",
    )


def frames(folder: Path, energy: str) -> Iterator[Frame]:
    for split in SPLITS:
        files = sorted((folder / split).glob("*.lmdb"))
        if not files:
            raise DataError(f"{folder / split} has no .lmdb file", f"unpack the record doi:{DOI} again")
        for file in files:
            for number, content in entries(file):
                source = f"{folder.name}/{split} entry {number}"
                try:
                    held = fields(load(content))
                except Refused as asked:
                    raise DataError(
                        f"{file} entry {number} is refused: it asks for {asked}",
                        f"it is not the published file; get it from doi:{DOI}",
                    ) from asked
                yield parsed(held, energy, split, source)


def entries(file: Path) -> Iterator[tuple[int, bytes]]:
    """Number and content of each entry, in their order. Raises DataError for what is no LMDB file."""
    try:
        with (
            lmdb.open(str(file), subdir=file.is_dir(), readonly=True, lock=False, readahead=False) as environment,
            environment.begin() as transaction,
        ):
            names = [bytes(name) for name in transaction.cursor().iternext(values=False) if bytes(name).isdigit()]
            for name in sorted(names, key=int):
                yield int(name), transaction.get(name) or b""
    except lmdb.Error as error:
        raise DataError(f"{file} cannot be read ({error})", f"get it from doi:{DOI} again") from error


def parsed(held: dict[str, Any], energy: str, split: str, source: str) -> Frame:
    """A frame from the fields of a graph. Raises DataError for missing fields and shapes that do not agree."""
    try:
        numbers = np.asarray(found(held, ("atomic_numbers", "z"), source)).astype(np.int64).ravel()
        count, periodic = len(numbers), energy != "spice"
        cell = found(held, ("cell",), source) if periodic else np.zeros((3, 3))
        return Frame(
            numbers=numbers,
            positions=np.asarray(found(held, ("pos", "positions"), source), dtype=float).reshape(count, 3),
            cell=np.asarray(cell, dtype=float).reshape(3, 3),
            pbc=np.full(3, periodic),
            energy=total(held, numbers, energy, source),
            forces=np.asarray(found(held, FORCES, source), dtype=float).reshape(count, 3),
            group=str(held.get("mp_id") or held.get("smiles") or ""),
            split=split,
            source=source,
            info={ours: held[name] for name, ours in PLAIN.items() if isinstance(held.get(name), str | int | float)},
        )
    except (TypeError, ValueError) as error:
        raise DataError(f"{source} holds fields that do not fit each other ({error})", f"see doi:{DOI}") from error


def total(held: dict[str, Any], numbers: np.ndarray, energy: str, source: str) -> float:
    """The total energy, eV. SPICE's are stored in single precision, to 8 meV where there is bromine; the difference to
    free atoms (`reference_energy`) is in double, and where both agree it is what counts."""
    stored = float(np.ravel(found(held, ENERGIES[energy], source))[0])
    if energy == "spice" and "reference_energy" in held and set(numbers.tolist()) <= FREE_ATOMS.keys():
        exact = float(np.ravel(held["reference_energy"])[0]) + sum(FREE_ATOMS[z] for z in numbers.tolist())
        if np.isclose(exact, stored, rtol=1e-6, atol=0.0):
            return exact
    return stored


def found(held: dict[str, Any], names: tuple[str, ...], source: str) -> Any:
    """The first field of those names. Raises DataError."""
    for name in names:
        if name in held:
            return held[name]
    raise DataError(
        f"{source} has no {' or '.join(names)} (it has {', '.join(held)})", f"it is not as in the record doi:{DOI}"
    )

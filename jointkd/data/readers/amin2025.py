"""The splits that Amin et al. (ICLR 2025) published: LMDB files of pickled graphs, read by a restricted unpickler.

Zenodo 14759305 has `SPICE/spice_separated/<subset>` and `MPtrj/MPtrj_separated_all_splits/<subset>`, each with
`{train,val,test}/data.lmdb`, whose entries "0", "1", … are pickled `torch_geometric.data.Data`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from jointkd.data.readers import lmdb_files
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
INFO = {  # names in Frame.info, by the names of the fields
    "dataset_name": "config_type",
    "smiles": "smiles",
    "mp_id": "mp_id",
    "bandgap": "bandgap",
    "fid": "frame_id",
}


def read(source: str | Path | None, folder: str, energy: str) -> tuple[Iterator[Frame], dict[int, float]]:
    """Frames of one subset with their splits, and free-atom energies (eV; for SPICE only).

    source: the directory of the unpacked record; folder: the name of the subset in it; energy: `spice` for molecules,
    which are not periodic, and `corrected` or `uncorrected` for crystals. Raises ConfigError, DataError.
    """
    if energy not in ENERGIES:
        raise ConfigError(f"data.energy={energy!r} is not known", f"choose one of {', '.join(ENERGIES)}")
    if source is None:
        raise DataError(
            f"data.split=amin2025 needs {folder} of the record doi:{DOI}",
            "download and unpack the record, and give its directory: data.source=DIRECTORY",
        )
    return frames(find(Path(source).expanduser(), folder), energy), FREE_ATOMS if energy == "spice" else {}


def find(source: Path, folder: str) -> Path:
    """The folder of a subset, which is `source` itself or lies below it. Raises DataError."""
    candidates = [source, *sorted(path for path in source.rglob(Path(folder).name) if path.is_dir())]
    for path in candidates:
        if all((path / split).is_dir() for split in SPLITS):
            return path
    raise DataError(
        f"{source} contains no folder {folder} with train, val and test",
        f"unpack the record doi:{DOI} there, or give its directory: data.source=DIRECTORY",
    )


def frames(folder: Path, energy: str) -> Iterator[Frame]:
    """The frames of the three splits. Raises DataError."""
    for split in SPLITS:
        files = sorted((folder / split).glob("*.lmdb"))
        if not files:
            raise DataError(f"{folder / split} has no .lmdb file", f"unpack the record doi:{DOI} again")
        for file in files:
            for number, content in entries(file):
                source = f"{folder.name}/{split} entry {number}"
                try:
                    graph = fields(load(content))
                except Refused as request:
                    raise DataError(
                        f"{file} entry {number} is refused, because its pickle asks for {request}",
                        f"this is not the published file; download it from doi:{DOI}",
                    ) from request
                yield parse(graph, energy, split, source)


def entries(file: Path) -> Iterator[tuple[int, bytes]]:
    """The number and content of each entry, in ascending order. Raises DataError for a file that is not LMDB."""
    try:
        lmdb_files.check_whole(file / "data.mdb" if file.is_dir() else file)
        with (
            lmdb.open(str(file), subdir=file.is_dir(), readonly=True, lock=False, readahead=False) as environment,
            environment.begin() as transaction,
        ):
            names = [bytes(name) for name in transaction.cursor().iternext(values=False) if bytes(name).isdigit()]
            for name in sorted(names, key=int):
                yield int(name), transaction.get(name) or b""
    except (lmdb.Error, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error})", f"download it again from doi:{DOI}") from error


def parse(graph: dict[str, Any], energy: str, split: str, source: str) -> Frame:
    """The frame of a graph, given by its fields. Raises DataError for missing fields and inconsistent shapes."""
    try:
        numbers = np.asarray(field(graph, ("atomic_numbers", "z"), source)).astype(np.int64).ravel()
        count, periodic = len(numbers), energy != "spice"
        cell = field(graph, ("cell",), source) if periodic else np.zeros((3, 3))
        return Frame(
            numbers=numbers,
            positions=np.asarray(field(graph, ("pos", "positions"), source), dtype=float).reshape(count, 3),
            cell=np.asarray(cell, dtype=float).reshape(3, 3),
            pbc=np.full(3, periodic),
            energy=total(graph, numbers, energy, source),
            forces=np.asarray(field(graph, FORCES, source), dtype=float).reshape(count, 3),
            group=str(graph.get("mp_id") or graph.get("smiles") or ""),
            split=split,
            source=source,
            info={ours: graph[name] for name, ours in INFO.items() if isinstance(graph.get(name), str | int | float)},
        )
    except (TypeError, ValueError) as error:
        raise DataError(f"{source} has fields of inconsistent shapes ({error})", f"see doi:{DOI}") from error


def total(graph: dict[str, Any], numbers: np.ndarray, energy: str, source: str) -> float:
    """The total energy in eV.

    SPICE's total energies are stored in single precision, with an error of up to 8 meV for molecules with bromine; the
    energy relative to the free atoms (`reference_energy`) is stored in double precision, and used if the two agree.
    """
    stored = float(np.ravel(field(graph, ENERGIES[energy], source))[0])
    if energy == "spice" and "reference_energy" in graph and set(numbers.tolist()) <= FREE_ATOMS.keys():
        exact = float(np.ravel(graph["reference_energy"])[0]) + sum(FREE_ATOMS[z] for z in numbers.tolist())
        if np.isclose(exact, stored, rtol=1e-6, atol=0.0):
            return exact
    return stored


def field(graph: dict[str, Any], names: tuple[str, ...], source: str) -> Any:
    """The first field that exists under one of the names. Raises DataError if there is none."""
    for name in names:
        if name in graph:
            return graph[name]
    raise DataError(
        f"{source} has no {' or '.join(names)} (it has {', '.join(graph)})", f"give a file of the record doi:{DOI}"
    )

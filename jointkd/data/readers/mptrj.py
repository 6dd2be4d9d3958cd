"""MPtrj, the relaxations of the Materials Project: one JSON file of 11 GB, read as a stream."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import ijson
import numpy as np
from ase.data import atomic_numbers

from jointkd.errors import ConfigError, DataError
from jointkd.structures.frame import Frame

ENERGIES = {"uncorrected": "uncorrected_total_energy", "corrected": "corrected_total_energy"}
INFO = ("bandgap", "ef_per_atom")  # eV; fields that are kept in Frame.info
BUFFER = 1 << 20  # bytes
DEEPEST = 1000  # nested brackets; the parser takes time quadratic in their number
NESTING = np.zeros(256, dtype=np.int8)  # by byte
NESTING[list(b"[{")], NESTING[list(b"]}")] = 1, -1


class Shallow:
    """A stream of JSON that ends with ValueError where brackets, also those in texts, are nested too deeply."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.depth = stream, 0

    def read(self, size: int) -> bytes:
        content = self.stream.read(size)
        depths = self.depth + np.cumsum(NESTING[np.frombuffer(content, dtype=np.uint8)], dtype=np.int64)
        if len(depths):
            if depths.max() > DEEPEST:
                raise ValueError(f"it is nested more than {DEEPEST} levels deep")
            self.depth = int(depths[-1])
        return content


def read(path: Path, energy: str = "uncorrected") -> tuple[Iterator[Frame], dict[int, float]]:
    """Frames of MPtrj, material by material, and an empty dictionary, because MPtrj has no free-atom energies.

    The file is `{mp_id: {frame_id: {structure, uncorrected_total_energy, …}}}`, energies in eV, forces in eV/Å.
    energy: `uncorrected`, as VASP computed it, or `corrected`, with the Materials Project's corrections added.
    `Frame.group` is the material. Frame.info has `mp_id`, `frame_id`, `bandgap` (eV). Raises ConfigError, DataError.
    """
    if energy not in ENERGIES:
        raise ConfigError(f"data.energy={energy!r} is not known", f"choose one of {', '.join(ENERGIES)}")
    return frames(path, ENERGIES[energy]), {}


def frames(path: Path, energy_key: str) -> Iterator[Frame]:
    """The frames of one file, with the frames of one material at a time in memory. Raises DataError."""
    count = 0
    try:
        with path.open("rb") as file:
            for mp_id, entries in ijson.kvitems(Shallow(file), "", use_float=True, buf_size=BUFFER):
                for frame_id, entry in entries.items():
                    yield parse(mp_id, frame_id, entry, energy_key)
                    count += 1
    except (OSError, ijson.JSONError, AttributeError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read after {count} frames ({error})", "remove it and download it again"
        ) from error
    if not count:
        raise DataError(f"{path} contains no structures", "remove it and download it again")


def parse(mp_id: str, frame_id: str, entry: dict[str, Any], energy_key: str) -> Frame:
    """The frame of an entry. Raises DataError for missing or malformed fields."""
    source = f"{mp_id} frame {frame_id}"
    try:
        structure = entry["structure"]
        cell = np.array(structure["lattice"]["matrix"], dtype=float)
        sites = structure["sites"]
        return Frame(
            numbers=np.array([element(site) for site in sites], dtype=np.int64),
            positions=np.array([site["abc"] for site in sites], dtype=float) @ cell,
            cell=cell,
            pbc=np.ones(3, dtype=bool),
            energy=float(entry[energy_key]),
            forces=np.array(entry["force"], dtype=float).reshape(len(sites), 3),
            group=mp_id,
            source=source,
            info={"mp_id": mp_id, "frame_id": frame_id, **{key: entry[key] for key in INFO if key in entry}},
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        fields = ", ".join(entry) if isinstance(entry, dict) else "no fields"
        raise DataError(
            f"{source} must be as in MPtrj_2022.9_full.json ({type(error).__name__}: {error}; it has {fields})",
            "give the file of doi:10.6084/m9.figshare.23713842",
        ) from error


def element(site: dict[str, Any]) -> int:
    """The atomic number at a site of a pymatgen structure. Raises ValueError for mixed or partial occupation."""
    (species,) = site["species"]
    if species.get("occu", 1) != 1:
        raise ValueError(f"a site is occupied to {species['occu']}")
    return atomic_numbers[species["element"].rstrip("+-0123456789.")]

"""The structures that a run was tested on, wherever its data are now."""

import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from ase import Atoms

from jointkd.commands.run_record import RunRecord
from jointkd.commands.run_sources import data_of, prepared_set
from jointkd.errors import DataError
from jointkd.structures.frame import Frame, charge_entries

log = logging.getLogger(__name__)


def tested_structures(
    record: RunRecord, places: Mapping[str, str | None], trust: str | list[str] | None
) -> list[Atoms]:
    """The test split of a run, in its order, with charges and spins. places: path, source and prepared, if they moved.

    Raises DataError where the data are not found.
    """
    data, keys = data_of(record, places, trust), record.keys["test"]
    with TemporaryDirectory(prefix="jointkd-") as temporary:
        source = prepared_set(record, data, places, Path(temporary))
        missing = set(keys).difference(source.keys)
        if missing:
            raise DataError(
                f"{len(missing)} of the {len(keys)} test structures of {record.folder} are not in {source.path}",
                "give the data that the run was trained on",
            )
        structures = [with_charge_and_spin(source[source.index_of(key)]) for key in keys]
    log.info("%d test structures of %s", len(structures), record.folder)
    return structures


def with_charge_and_spin(frame: Frame) -> Atoms:
    """A structure without labels, with the charge and spin that its data state."""
    atoms = frame.to_ase()
    atoms.info.update(charge_entries(frame.info))
    return atoms

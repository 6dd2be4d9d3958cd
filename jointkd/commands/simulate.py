"""Molecular dynamics with a student."""

from pathlib import Path

from ase import Atoms
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from jointkd.commands.run_record import RunRecord
from jointkd.commands.run_structures import tested_structures
from jointkd.errors import DataError
from jointkd.files.folders import remove_if_empty
from jointkd.runtime import keep_freed_memory
from jointkd.simulation.dynamics import simulate
from jointkd.simulation.options import SimulationOptions
from jointkd.simulation.several import simulate_several


def run(config: DictConfig) -> None:
    """Run dynamics from one structure, or from several at once; the results go to `directory`."""
    keep_freed_memory()
    options: SimulationOptions = instantiate(config, _convert_="all")
    if options.several:
        simulate_several(options, None if options.structures else structures_of(options))
    else:
        simulate(options)
    remove_if_empty(Path(HydraConfig.get().runtime.output_dir))


def structures_of(options: SimulationOptions) -> list[Atoms]:
    """The test structures of the first run, which must be those of the others. Raises DataError."""
    if any(Path(run).is_file() for run in options.runs):
        raise DataError("structures is not set, and a student's file has no test structures", "give structures=FILE")
    records = [RunRecord.read(Path(run)) for run in options.runs]
    for record in records[1:]:
        if record.keys["test"] != records[0].keys["test"]:
            raise DataError(
                f"{record.folder} was tested on other structures than {records[0].folder}", "give structures=FILE"
            )
    try:
        trust = None if isinstance(options.trust, bool) else options.trust
        return tested_structures(records[0], {}, trust)
    except DataError as error:
        raise DataError(
            f"the test structures of {records[0].folder}: {error.problem}", "give structures=FILE"
        ) from error

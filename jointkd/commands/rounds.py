"""Rounds of sampling and training: the last student samples, and the next one is trained on what it has visited too."""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from jointkd.cli.compose import repeated
from jointkd.commands import train
from jointkd.commands.new_structures import make_structures
from jointkd.commands.recorded_training import recorded_training, with_unlabelled
from jointkd.errors import ConfigError
from jointkd.files.atomic import file_sha256
from jointkd.files.folders import as_folder
from jointkd.files.run_files import CHECKPOINTS, CONFIGURATION, STUDENT, SUMMARY
from jointkd.ranges import check_integer
from jointkd.reports.plots import history
from jointkd.sampling.options import TEACHER, SamplingOptions
from jointkd.sampling.record import Record
from jointkd.training.checkpoint_files import exists

log = logging.getLogger(__name__)

RECORD = "rounds.json"
VALIDATION = "val/force_mae_meV_per_A"
FORCES, ENERGIES = "force_mae_meV_per_A", "energy_mae_meV_per_atom"
HEAD = ("round", "new structures", "ended early", "teacher s", "val meV/Å", "test meV/Å", "test meV/atom")


@dataclass(frozen=True)
class Rounds:
    """So many rounds in a folder, which begin with the student of a run."""

    number: int
    folder: Path
    first: Path  # the folder of the run
    options: SamplingOptions  # of the first round
    recorded: dict[str, Any]  # the configuration of the run

    @classmethod
    def of(cls, number: Any, given: Mapping[str, Any]) -> "Rounds":
        """Rounds with these sampling options, whose `output` is a folder. Raises ConfigError, DataError."""
        check_integer("rounds", number)
        if given["mover"] == TEACHER:
            raise ConfigError(f"rounds={number} needs a student that samples", "give with=FOLDER of a finished run")
        if Path(given["output"]).suffix == ".xyz":
            raise ConfigError(f"output={given['output']}: rounds={number} fill a folder", "give output=FOLDER")
        folder, first = as_folder(given["output"]), Path(given["mover"]).expanduser()
        options = SamplingOptions(**{**given, "output": "round.xyz"})
        return cls(number, folder, first, options, recorded_training(first, options.trust))

    def run(self) -> None:
        """Sample and train where that has not been done yet, and log a table of all rounds. Raises UserErrors."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with Record(self.folder / RECORD, self.folder, self.made_with()) as record:
            for number in range(1, self.number + 1):
                if str(number) not in record.so_far:
                    self.sample(number, record)
                if str(number) not in record.so_far:
                    log.warning("round %d is the last one: it has found no new structures", number)
                    break
                self.train(number)
            log.info("%s", self.table(record))

    def made_with(self) -> dict[str, Any]:
        """What all rounds depend on, as JSON."""
        files = {"with": file_sha256(self.first / STUDENT), "its config.yaml": file_sha256(self.first / CONFIGURATION)}
        return {**self.options.recorded(), "number": self.options.number, **files}

    def run_of(self, number: int) -> Path:
        """The folder of the run of a round, 0 for the run that is there at first."""
        return self.folder / f"round-{number}" if number else self.first

    def structures_of(self, number: int) -> Path:
        """The file of the new structures of a round."""
        return self.folder / f"round-{number}.xyz"

    def configuration(self, number: int) -> dict[str, Any]:
        """The configuration of the run of a round."""
        return with_unlabelled(self.recorded, [self.structures_of(each) for each in range(1, number + 1)])

    def sample(self, number: int, record: Record) -> None:
        """Make the structures of a round with the student of the one before."""
        before = self.run_of(number - 1)
        log.info("round %d of %d: sampling with %s", number, self.number, before)
        file, seed = str(self.structures_of(number)), self.options.seed + number - 1
        options = replace(self.options, output=file, mover=str(before), seed=seed)
        made = make_structures(OmegaConf.create(self.configuration(number - 1)), options)
        if made.structures:
            entry = {"structures": len(made.structures), "early": made.early, "seconds": made.seconds}
            record.write({**record.so_far, str(number): entry})

    def train(self, number: int) -> None:
        """Train the student of a round, or go on where its training was stopped."""
        folder = self.run_of(number)
        if (folder / SUMMARY).exists():
            return
        goes_on = exists(folder / CHECKPOINTS / "last.ckpt")
        log.info("round %d of %d: training in %s", number, self.number, folder)
        configuration = {**self.configuration(number), "ckpt_path": "last" if goes_on else None}
        with repeated(configuration, folder) as config:
            train.run(config)

    def table(self, record: Record) -> str:
        """New structures, trajectories that ended early, the teacher's time, and errors of each round."""
        rows = [list(HEAD)]
        for number in range(self.number + 1):
            if not (self.run_of(number) / SUMMARY).exists():
                break
            entry = record.so_far.get(str(number), {})
            sampled = [str(entry.get("structures", "")), str(entry.get("early", ""))]
            time = [f"{entry['seconds']:.0f}" if entry else ""]
            rows.append([str(number), *sampled, *time, *errors(self.run_of(number))])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
        return "\n".join(lines)


def errors(folder: Path) -> list[str]:
    """The validation error of forces, and the test errors of forces and energies of a run."""
    test = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["test"]
    values = [min(history(folder, VALIDATION, "step")[1], default=math.nan), test[FORCES], test[ENERGIES]]
    return ["" if math.isnan(value) else f"{value:.1f}" for value in values]

"""A student on any file of structures: predictions, and errors of what the file has labels of."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from jointkd.data.readers import extxyz
from jointkd.data.readers.stress import StressForm
from jointkd.data.screening import Rejected
from jointkd.errors import ConfigError, DataError
from jointkd.evaluation.errors import Errors
from jointkd.evaluation.file_errors import OF_TRAINING, FileErrors, described
from jointkd.evaluation.hull import check_hull
from jointkd.evaluation.parity import Parity
from jointkd.evaluation.prediction_files import WRITERS, check_new, check_output
from jointkd.evaluation.predictions import Predicted, Predictor
from jointkd.evaluation.training_distance import TrainingDistance
from jointkd.progress import Progress
from jointkd.ranges import check_seed
from jointkd.structures.frame import Frame

log = logging.getLogger(__name__)

Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class FileEvaluation:
    """Which student predicts which file, and what is written. Raises ConfigError, MissingExtra."""

    run: str  # folder of a finished run, or a student's file
    structures: str  # a file, a folder, or a pattern with *, of any format that ASE reads
    energy_key: str | None = "energy"  # of the file's labels; None: they are not read
    forces_key: str | None = "forces"
    units: Mapping[str, str] | None = None  # of energy and length; None: eV and Å
    stress_key: str | None = None
    stress: Mapping[str, Any] | None = None  # what stress_key names; see `StressForm`
    group_key: str | None = None  # the entry with the molecule or material
    training: str | None = None  # a file with the structures of the training, from which distances are taken
    format: str | None = None  # ASE's name of the format
    output: tuple[str, ...] = ()  # files of predictions: .xyz, .csv
    plot: str | None = None  # PNG; None: beside the first output
    seed: int = 0  # of the bootstrap
    hull: float | None = None  # eV/atom above the convex hull that count as stable; None: no hull is made
    trust: str | list[str] | None = None  # import paths of classes of your own that the student's file may name

    def __post_init__(self) -> None:
        check_seed("seed", self.seed)
        check_hull(self.hull)
        if not isinstance(self.units or {}, Mapping):
            raise ConfigError(
                f"data.units={self.units} must be two units", "set data.units.energy or data.units.length"
            )
        for path in self.outputs:
            check_output(path)
        if len({path.absolute() for path in self.outputs}) < len(self.outputs):
            raise ConfigError(f"output={list(self.output)} names a file twice", "give each name once")
        if self.plot_path is not None:
            if self.plot_path.suffix != ".png":
                raise ConfigError(f"plot={self.plot_path} must end with .png", "give such a name")
            check_new(self.plot_path, "plot")

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files of predictions."""
        return tuple(Path(name).expanduser() for name in self.output)

    @property
    def plot_path(self) -> Path | None:
        """Where the plot goes, None without one."""
        if self.plot is not None:
            return Path(self.plot).expanduser()
        return self.outputs[0].with_suffix(".png") if self.output else None

    def frames(self) -> Iterator[Frame]:
        """The structures, without the isolated atoms with energies. Raises DataError."""
        keys = self.energy_key, self.forces_key, dict(self.units or {}), self.group_key, None, self.format
        form = None
        if self.stress_key is not None:
            form = StressForm.of(self.stress_key, self.stress or {}, (self.units or {}).get("energy", "eV"))
        return extxyz.read(self.structures, *keys, option="structures", labels_required=False, stress=form)[0]

    def training_frames(self) -> Iterator[Frame]:
        """The structures of the training, without their labels. Raises DataError."""
        return extxyz.read(self.training, None, None, format=self.format, option="training", labels_required=False)[0]


def evaluate_file(options: FileEvaluation) -> FileErrors:
    """Predict every structure of a file, write what is asked for, and return and log the errors.

    Raises ConfigError, DataError; files of predictions are complete or absent.
    """
    predictor = Predictor(options.run, options.trust)
    if not predictor.references:
        log.warning("%s has no reference energies: total energies lack a constant per element", options.run)
    errors, parity = Errors(options.hull), Parity()
    set_aside: Counter[str] = Counter()
    distance = None if options.training is None else TrainingDistance(options.training_frames())
    estimates = trained = 0
    with ExitStack() as files:
        writers = [files.enter_context(WRITERS[path.suffix](path)) for path in options.outputs]
        for outcome in watched(predictor(options.frames()), options.structures):
            if distance is not None and isinstance(outcome, Predicted):
                outcome = replace(outcome, training_distance=distance(outcome.frame))
            for write in writers:
                write(outcome)
            if isinstance(outcome, Rejected):
                report_first(outcome, set_aside)
                continue
            errors.add(outcome)
            parity.add(outcome, float(predictor.reference_energies(outcome.frame.numbers).sum()))
            estimates += predictor.estimates(outcome.frame)
            trained += predictor.trained_on(outcome.frame)
        check_any(len(errors), set_aside, options.structures)
    counts = {**errors.counts(), "structures_with_estimated_energy": estimates, OF_TRAINING: trained}
    result = FileErrors(
        counts=counts,
        set_aside=dict(set_aside),
        metrics=errors.metrics(),
        intervals=errors.intervals(errors.replicates(options.seed)),
        by_element=errors.by_element(),
        by_config_type=errors.by("config_type"),
        by_group=errors.by("group"),
        by_training_distance=errors.by_training_distance(),
    )
    report_missing(result.counts, options)
    log.info("%s", described(result, options.structures))
    if options.plot_path is not None and parity.save(options.plot_path):
        log.info("plot: %s", options.plot_path)
    return result


def watched(outcomes: Iterable[Outcome], structures: str) -> Iterator[Outcome]:
    """The outcomes, with the progress of how many there are; the total is unknown as the file is read once."""
    with Progress(f"predicting {structures}", 0, None, unit=" structures") as progress:
        for count, outcome in enumerate(outcomes, start=1):
            progress.show(count, partial("{} structures of {} are predicted".format, count, structures))
            yield outcome


def report_first(rejected: Rejected, set_aside: Counter[str]) -> None:
    """Count a structure that is set aside, and name the first one of each reason."""
    if rejected.reason not in set_aside:
        log.warning(
            "%s is set aside: %s (the number of such structures follows)", rejected.frame.source, rejected.reason
        )
    set_aside[rejected.reason] += 1


def check_any(predicted: int, set_aside: Counter[str], structures: str) -> None:
    """Raise DataError where no structure could be predicted."""
    if not predicted:
        ((reason, count),) = set_aside.most_common(1)
        raise DataError(
            f"none of the {set_aside.total()} structures of structures={structures} can be predicted, "
            f"{count} because {reason}",
            "give structures of the elements of the training, and check data.units.length",
        )


def report_missing(counts: Mapping[str, int], options: FileEvaluation) -> None:
    """Say which labels no structure has."""
    keys = {"energy": options.energy_key, "forces": options.forces_key, "stress": options.stress_key}
    for label, key in keys.items():
        if key is not None and not counts[f"structures_with_{label}"]:
            log.warning(
                "no structure of %s has %s under data.%s_key=%s: it is predicted, but its error is not known; "
                "set data.%s_key if the file has it under another name",
                *(options.structures, label, label, key, label),
            )
    if options.hull is not None and not counts["structures_with_hull_distance"]:
        log.warning(
            "no structure of %s has a distance to the convex hull: the file must have crystals (periodic in three "
            "directions) with energies, and each of their elements as a crystal of its own",
            options.structures,
        )

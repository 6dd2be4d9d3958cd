"""Files of predictions: extended XYZ with the structures, and a table with a line for each of them."""

import csv
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
from ase.io import write

from jointkd.data.screening import Rejected
from jointkd.errors import ConfigError
from jointkd.evaluation.errors import composition
from jointkd.evaluation.metrics import energy_error, force_error
from jointkd.evaluation.predictions import Predicted
from jointkd.files.atomic import new_text
from jointkd.structures.frame import Frame

Add = Callable[[Predicted | Rejected], None]  # writes an outcome

COLUMNS = (
    "source",
    "formula",
    "atoms",
    "config_type",
    "group",
    "energy_eV",
    "predicted_energy_eV",
    "energy_error_meV_per_atom",
    "force_mae_meV_per_A",
    "force_rmse_meV_per_A",
    "training_distance",
    "set_aside",
)


@contextmanager
def extxyz_file(path: Path) -> Iterator[Add]:
    """Extended XYZ: structures in eV and Å with `jointkd_energy`, `jointkd_energies` of the atoms, `jointkd_forces`.

    Other strings and numbers of a structure stay; its labels are `reference_energy` and `reference_forces`, and beside
    `jointkd_stress` `reference_stress` (nine values, eV/Å³). Structures that were set aside are left out.
    """
    with new_text(path) as text:

        def add(outcome: Predicted | Rejected) -> None:
            if isinstance(outcome, Rejected):
                return
            frame, atoms = outcome.frame, outcome.frame.to_ase()
            atoms.info.update(frame.info, jointkd_energy=outcome.energy)
            atoms.set_array("jointkd_energies", outcome.energies)
            atoms.set_array("jointkd_forces", outcome.forces)
            if outcome.training_distance is not None:
                atoms.info["jointkd_training_distance"] = outcome.training_distance
            if frame.energy is not None:
                atoms.info["reference_energy"] = frame.energy
            if outcome.stress is not None:
                atoms.info.update(jointkd_stress=outcome.stress, reference_stress=frame.stress)
            if frame.forces is not None:
                atoms.set_array("reference_forces", frame.forces)
            write(text, atoms, format="extxyz")

        yield add


@contextmanager
def csv_file(path: Path) -> Iterator[Add]:
    """A table with a line for each structure, also for those that were set aside, with the reason."""
    with new_text(path) as text:
        table = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
        table.writeheader()

        def add(outcome: Predicted | Rejected) -> None:
            line = described(outcome.frame)
            line |= {"set_aside": outcome.reason} if isinstance(outcome, Rejected) else errors_of(outcome)
            table.writerow(
                {name: f"{value:.9g}" if isinstance(value, float) else value for name, value in line.items()}
            )

        yield add


WRITERS: dict[str, Callable[[Path], AbstractContextManager[Add]]] = {
    ".xyz": extxyz_file,
    ".extxyz": extxyz_file,
    ".csv": csv_file,
}


def check_new(path: Path, option: str) -> None:
    """Raise ConfigError for a file that exists, or whose folder does not."""
    if path.exists():
        raise ConfigError(f"{option}={path} exists and is not replaced", "give another name, or move the file away")
    if not path.parent.is_dir():
        raise ConfigError(f"{option}={path}: there is no folder {path.parent}", "make it, or give another name")


def check_output(path: Path) -> None:
    """Raise ConfigError for an output that exists, or whose name does not tell its format."""
    if path.suffix not in WRITERS:
        raise ConfigError(f"output={path} must end with {' or '.join(WRITERS)}", "give such a name")
    check_new(path, "output")


def described(frame: Frame) -> dict[str, object]:
    """The columns of a structure before it is predicted."""
    return {
        "source": frame.source,
        "formula": composition(frame),
        "atoms": len(frame),
        "config_type": frame.info.get("config_type", ""),
        "group": frame.group,
        "energy_eV": "" if frame.energy is None else frame.energy,
    }


def errors_of(predicted: Predicted) -> dict[str, float]:
    """The columns of a prediction, and of its errors where there are labels."""
    frame, columns = predicted.frame, {"predicted_energy_eV": predicted.energy}
    if predicted.training_distance is not None:
        columns["training_distance"] = predicted.training_distance
    if frame.energy is not None:
        energies = (np.array([energy]) for energy in (predicted.energy, frame.energy, len(frame)))
        columns["energy_error_meV_per_atom"] = float(energy_error(*energies)[0])
    if frame.forces is not None:
        error = force_error(predicted.forces, frame.forces)
        columns["force_mae_meV_per_A"] = float(np.abs(error).mean())
        columns["force_rmse_meV_per_A"] = float(np.sqrt((error**2).mean()))
    return columns

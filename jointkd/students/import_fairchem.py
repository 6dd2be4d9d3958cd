"""Converts a checkpoint of fairchem-core 1.x to a student with the same predictions."""

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols
from torch import Tensor

from jointkd.errors import ConfigError, DataError, first_line
from jointkd.files.atomic import file_sha256
from jointkd.files.fairchem_v1 import element_references, named_weights, normaliser, not_a_checkpoint, read_checkpoint
from jointkd.students.fairchem_names import HEADS, convert, model_notes, student_config
from jointkd.students.student_file import SavedStudent, build, check_weights, save_student

log = logging.getLogger(__name__)


def import_checkpoint(checkpoint: str, output: str, ema: bool = True, scale: str | None = None) -> SavedStudent:
    """Convert a checkpoint of fairchem-core 1.x to a student file, `output`, and log notes on the conversion.

    ema: use the running average of the weights, if there is one, instead of the last weights; scale: `energy` or
    `forces`, the normaliser that a conservative student uses if the two differ.

    Raises DataError for a checkpoint that no student can reproduce, ConfigError for wrong options.
    """
    path, target = Path(checkpoint), Path(output)
    if target.exists():
        raise ConfigError(f"output={output} exists already", "name another file")
    if scale not in (None, "energy", "forces"):
        raise ConfigError(f"scale={scale} must be energy, forces or null", "choose one of them")
    if not isinstance(ema, bool):
        raise ConfigError(f"ema={ema} must be true or false", "choose one of them")
    saved = read_checkpoint(path)
    try:
        imported, size = student_of(saved, path, ema, scale)
    except (TypeError, AttributeError, KeyError, IndexError, ValueError, RuntimeError) as error:
        raise not_a_checkpoint(path, f"its entries are not those of a model ({first_line(error)})") from error
    save_student(target, imported)
    config, notes = imported.config, imported.origin["notes"]
    arguments = ", ".join(f"{argument}={value}" for argument, value in config.items() if argument != "_target_")
    log.info("%s: %s(%s), %s parameters", path, config["_target_"], arguments, f"{size:,}")
    log.info("%s", "\n".join(f"  - {note}" for note in notes))
    log.info("written to %s", target)
    return imported


def student_of(saved: dict[str, Any], path: Path, ema: bool, scale: str | None) -> tuple[SavedStudent, int]:
    """The student that predicts what a checkpoint's model does, and its number of parameters. Raises DataError.

    Entries of other types than fairchem-core writes raise errors of any class.
    """
    name, settings = model_of(saved, path)
    state, source = select_weights(saved, ema, path)
    check_finite(state, path)
    weights, original_names = convert(state, name)
    config = student_config(name, settings, weights, path)
    factors, factor_notes = head_factors(saved, config["conservative"], scale, path)
    for weight in weights:
        for head, pattern in HEADS.items():
            if re.fullmatch(pattern, weight):
                weights[weight] = weights[weight] * factors[head]
    remedy = "only an unchanged model of fairchem-core 1.x, with the config of its training, can be imported"
    student = build(config, torch.float32, place=f"checkpoint={path}")
    check_weights(student, weights, f"checkpoint={path}", remedy, displayed_names=original_names)
    references, reference_note = reference_energies(saved)
    check_finite({"a reference energy": torch.tensor(list(references.values()))}, path)
    notes = [source, *model_notes(name, settings, config), *factor_notes, reference_note]
    origin = {"format": "fairchem-core 1.x", "file": path.name, "sha256": file_sha256(path), "notes": notes}
    return SavedStudent(config, weights, references, origin), sum(p.numel() for p in student.parameters())


def check_finite(weights: Mapping[str, Any], path: Path) -> None:
    """Raise DataError for weights that are not tensors of finite numbers in single or double precision."""
    for name, weight in weights.items():
        if not isinstance(weight, Tensor) or weight.dtype not in (torch.float32, torch.float64):
            kind = weight.dtype if isinstance(weight, Tensor) else type(weight).__name__
            raise DataError(
                f"checkpoint={path}: {name} must be a tensor in single or double precision, but it is {kind}",
                "give the checkpoint as fairchem-core wrote it",
            )
        if weight.layout != torch.strided or not torch.isfinite(weight).all():
            raise DataError(
                f"checkpoint={path}: {name} has values that are not finite",
                "give an earlier checkpoint: training diverged, or the file is damaged",
            )


def model_of(saved: dict[str, Any], path: Path) -> tuple[str, dict[str, Any]]:
    """The name and the settings of the model; older configurations have them in two entries."""
    model = saved["config"].get("model")
    settings = dict(model) if isinstance(model, dict) else dict(saved["config"].get("model_attributes") or {})
    name = settings.pop("name", None) if isinstance(model, dict) else model
    if name not in ("painn", "gemnet_t"):
        raise DataError(
            f"checkpoint={path} is of model {name}", "only painn and gemnet_t (GemNet-dT and -T) can be imported"
        )
    return name, settings


def select_weights(saved: dict[str, Any], ema: bool, path: Path) -> tuple[dict[str, Tensor], str]:
    """The weights under the model's own names, averaged if `ema` and if there is an average, and a note on them.

    The average is saved without names, in the order of the model's parameters, without scale factors and constants.
    """
    state = named_weights(saved)
    # `layers` of an output block of GemNet is saved a second time as `seq_energy`
    state = {name: value for name, value in state.items() if ".seq_energy." not in name}
    shadow = (saved.get("ema") or {}).get("shadow_params")
    if shadow is None:
        return (
            state,
            "weights: as saved; there is no separate average (the weights in a best_checkpoint.pt are the average)",
        )
    if not ema:
        return state, "weights: the last ones, not their running average (ema=false)"
    names = [name for name in state if not name.endswith(("scale_factor", "rbf.offset"))]
    if [value.shape for value in shadow] != [state[name].shape for name in names]:
        raise DataError(
            f"checkpoint={path}: its running average has {len(shadow)} parameters, which do not fit the {len(names)} "
            "of the model in number or shape",
            "import the weights of the last step with ema=false",
        )
    return state | dict(zip(names, shadow, strict=True)), "weights: their running average (ema=false: the last ones)"


def head_factors(
    saved: dict[str, Any], conservative: bool, scale: str | None, path: Path
) -> tuple[dict[str, float], list[str]]:
    """Factors for the last layers, so that energies are in eV and forces in eV/Å, and notes on them."""
    factors = {"energy": 1.0, "forces": 1.0}
    for target in factors:  # other normalisers belong to losses
        mean, deviation = normaliser(saved, target)
        check_finite({f"the normaliser of {target}": torch.stack([mean.double(), deviation.double()])}, path)
        if mean.any() or deviation.numel() != 1:
            raise DataError(
                f"checkpoint={path}: its normaliser of {target} has mean {mean.tolist()}, std {deviation.tolist()}, "
                "but a constant per structure is not a sum over atoms, as the energy of a student is",
                "train with mean 0 and element references instead",
            )
        factors[target] = float(deviation)
    energy, forces = factors.values()
    note = [f"last layers multiplied by the normalisers: energy {energy:g}, forces {forces:g}"]
    if conservative and energy != forces:
        if scale is None:
            raise DataError(
                f"checkpoint={path}: its normalisers are {energy:g} for energy and {forces:g} for forces, so its "
                "forces are not the gradient of its energy, as those of a conservative student must be",
                "choose which of the two to reproduce, with scale=energy or scale=forces",
            )
        other = "forces" if scale == "energy" else "energy"
        note = [
            f"scale={scale}: energy multiplied by the normaliser of {scale}, {factors[scale]:g}; {other} are then "
            f"{factors[scale] / factors[other]:g} times the checkpoint's"
        ]
        factors["energy"] = factors[scale]
    return factors, note if not math.isclose(energy, 1) or not math.isclose(forces, 1) else []


def reference_energies(saved: dict[str, Any]) -> tuple[dict[int, float], str]:
    """Per-element reference energies in eV by atomic number, {} if the checkpoint has none, and a note on them."""
    energies = element_references(saved)
    if not energies:
        return {}, "reference energies: none; predictions are energies as in the training data"
    written = ", ".join(f"{chemical_symbols[number]}: {energy:.6g}" for number, energy in energies.items())
    return energies, f"predictions are relative to data.reference_energies={{{written}}} eV"

"""Converts a checkpoint of fairchem-core 1.x to a student with the same predictions."""

import logging
import math
import re
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols
from torch import Tensor

from jointkd.errors import ConfigError, DataError
from jointkd.files.atomic import file_sha256
from jointkd.files.fairchem_v1 import element_references, named_weights, normaliser, read_checkpoint
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
    name, settings = model_of(saved, path)
    state, source = select_weights(saved, ema, path)
    weights, original_names = convert(state, name)
    config = student_config(name, settings, weights, path)
    factors, factor_notes = head_factors(saved, config["conservative"], scale, path)
    for weight in weights:
        for head, pattern in HEADS.items():
            if re.fullmatch(pattern, weight):
                weights[weight] = weights[weight] * factors[head]
    remedy = "only an unchanged model of fairchem-core 1.x, with the config of its training, can be imported"
    student = build(config, torch.float32)
    check_weights(student, weights, f"checkpoint={path}", remedy, displayed_names=original_names)
    references, reference_note = reference_energies(saved)
    notes = [source, *model_notes(name, settings, config), *factor_notes, reference_note]
    origin = {"format": "fairchem-core 1.x", "file": path.name, "sha256": file_sha256(path), "notes": notes}
    imported = SavedStudent(config, weights, references, origin)
    save_student(target, imported)
    size = sum(parameter.numel() for parameter in student.parameters())
    arguments = ", ".join(f"{argument}={value}" for argument, value in config.items() if argument != "_target_")
    log.info("%s: %s(%s), %s parameters", path, config["_target_"], arguments, f"{size:,}")
    log.info("%s", "\n".join(f"  - {note}" for note in notes))
    log.info("written to %s", target)
    return imported


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

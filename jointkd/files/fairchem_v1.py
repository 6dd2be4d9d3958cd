"""Reads checkpoints of fairchem-core 1.x without running code from them."""

import contextlib
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jointkd.errors import DataError

KEPT = ("state_dict", "config", "normalizers", "elementrefs", "ema")
PLAIN = f"plain = {{k: checkpoint[k] for k in {KEPT} if k in checkpoint}}; torch.save(plain, 'plain.pt')"
OLD_TARGETS = {"target": "energy", "grad_target": "forces"}
OLD_NAMES = {"numpy._core.multiarray.scalar": "numpy.core.multiarray.scalar"}  # their names in pickles of numpy 1


def read_checkpoint(path: Path, option: str = "checkpoint") -> dict[str, Any]:
    """The dictionary in a checkpoint of fairchem-core 1.x. Raises DataError for any other file.

    option: the name of the option that gives the path. Only tensors, plain values and numpy scalars, which fairchem
    saves metrics as, are admitted.
    """
    if not path.is_file():
        raise DataError(f"{option}={path} does not exist", "give a checkpoint of fairchem-core 1.x (*.pt)")
    try:
        with numpy_scalars_admitted():
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        blocked = re.search(r"(?:GLOBAL|[Cc]lass|global) (\S*\.\S+)", str(error))
        if blocked:
            raise DataError(
                f"{option}={path} can only be read by running code from it ({blocked[1].rstrip('.')}), and is refused",
                "if you trust its author, convert it with checkpoint = torch.load(path, map_location='cpu', "
                f"weights_only=False); {PLAIN}, and give plain.pt",
            ) from error
        raise not_a_checkpoint(path, "it was not written by torch.save", option) from error
    except OSError as error:
        raise not_a_checkpoint(path, f"it cannot be read ({error.strerror})", option) from error
    except (RuntimeError, EOFError, KeyError, ValueError) as error:
        raise not_a_checkpoint(path, "it was not written by torch.save", option) from error
    if not isinstance(saved, dict):
        raise not_a_checkpoint(path, f"it holds a {type(saved).__name__}", option)
    for key in ("state_dict", "config"):
        if not isinstance(saved.get(key), dict) or not saved[key]:
            raise not_a_checkpoint(path, f"it has no {key}", option)
    return saved


def not_a_checkpoint(path: Path, reason: str, option: str = "checkpoint") -> DataError:
    """The error for a file that is not a checkpoint of fairchem-core 1.x."""
    return DataError(
        f"{option}={path} is not a checkpoint of fairchem-core 1.x: {reason}",
        "give the best_checkpoint.pt or checkpoint.pt of a training run",
    )


@contextlib.contextmanager
def numpy_scalars_admitted() -> Any:
    """Within the block, `torch.load(weights_only=True)` also reads numpy scalars."""
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    kinds = [getattr(np.dtypes, name) for name in ("Float64DType", "Float32DType", "Int64DType", "Int32DType")]
    names = [(scalar, name) for pair in OLD_NAMES.items() for name in pair]
    with warnings.catch_warnings(), torch.serialization.safe_globals([np.dtype, *kinds, *names]):
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def named_weights(saved: dict[str, Any]) -> dict[str, Tensor]:
    """The weights under the names of the model's parameters, without the prefixes that wrappers add."""
    return {re.sub(r"^(module\.)+", "", name): value for name, value in saved["state_dict"].items()}


def normaliser(saved: dict[str, Any], target: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of `target` in the model's output: prediction · deviation + mean is in eV or eV/Å."""
    for name, state in (saved.get("normalizers") or {}).items():
        if OLD_TARGETS.get(name, name) == target:
            mean, deviation = (torch.as_tensor(state[key]) for key in ("mean", "rmsd" if "rmsd" in state else "std"))
            return mean, deviation
    return torch.tensor(0.0), torch.tensor(1.0)


def element_references(saved: dict[str, Any]) -> dict[int, float]:
    """Per-element reference energies in eV by atomic number; {} if the checkpoint has none."""
    state = (saved.get("elementrefs") or {}).get("energy") or {}
    energies = torch.as_tensor(state.get("element_references", [])).double().flatten().tolist()
    return {number: energy for number, energy in enumerate(energies) if energy and number}

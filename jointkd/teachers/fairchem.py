"""Conservative models that fairchem-core 2.x loads by name or from a file (UMA, eSEN, AllScAIP) as teachers."""

import contextlib
import io
import logging
import random
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jointkd.errors import MissingExtra, TeacherError, first_line
from jointkd.files.atomic import combined_sha256
from jointkd.labels.records import TeacherIdentity
from jointkd.runtime import device_of
from jointkd.teachers.base import by_atomic_number
from jointkd.teachers.fairchem_model import FairchemTeacher, Scale, State, check
from jointkd.teachers.hub import fetch

log = logging.getLogger(__name__)

# Levels of theory of the models that fairchem-core knows by name: by a part of the name, else by the task. Source: its
# documentation of UMA.
THEORIES_OF_NAMES = {"-d4rev": "ωB97M-D4rev", "-r2scan": "r²SCAN"}
THEORIES_OF_TASKS = {
    "omol": "ωB97M-V/def2-TZVPD",
    "omat": "PBE(+U), OMat24 settings",
    "omc": "PBE+D3",
    "odac": "PBE+D3",
    "oc20": "RPBE",
}


def from_name(
    checkpoint: str,
    name: str,
    dtype: str,
    device: str | None,
    batch_atoms: int | None,
    task: str,
    charge: int = 0,
    spin: int | None = None,
    repo: str | None = None,
    head: str | None = None,
    **about: Any,
) -> FairchemTeacher:
    """A teacher of fairchem-core 2.x. checkpoint: a name that it knows, or a file (a pickle, whose author is trusted).

    task: a data set that the model was trained on; charge, spin (2S + 1): of structures without their own (spin None: 1
    for omol and 0 for other tasks, as in training); repo: repository of the Hugging Face hub, if it differs from the
    one in fairchem-core; head: task, charge and spin as text, which identify the labels. For checkpoints given by name,
    the default of the level of theory is that of the task.

    Raises MissingExtra, TeacherError for a checkpoint that is unknown, cannot be downloaded or is not conservative.
    """
    import_fairchem()
    from fairchem.core.calculate import pretrained_mlip
    from fairchem.core.units.mlip_unit import InferenceSettings, load_predict_unit

    check_precision(dtype)
    device = device_of(device, "teacher.device")
    path = file_of(checkpoint, repo)
    log.info("loading %s: a pickle, which runs its author's code as it loads", path)
    settings = InferenceSettings(  # other execution modes are faster on a GPU, but not twice differentiable
        activation_checkpointing=False,
        base_precision_dtype=dtype,
        execution_mode="general",
        auto_add_default_untrained_tasks=False,
    )
    try:
        with without_side_effects():
            unit = load_predict_unit(path, settings, device=device.partition(":")[0])
            unit.device = device
    except Exception as error:  # a pickle may raise errors of any class
        raise TeacherError(
            f"teacher.checkpoint={checkpoint} cannot be loaded by fairchem-core {version('fairchem-core')} "
            f"({first_line(error)})",
            f"give a file of a model of fairchem-core 2.x, or one of {', '.join(pretrained_mlip.available_models)}; "
            "for eSEN models of fairchem-core 1.x choose teacher=esen_oam",
        ) from error
    scale = scale_of(unit, task, name)
    model = unit.model.module
    about["level_of_theory"] = about.get("level_of_theory") or theory_of(checkpoint, task)
    identity = identity_of(name, path, dtype, scale, model, head, **about)
    spin = spin if spin is not None else int(task == "omol")
    teacher = FairchemTeacher(model, scale, identity, device, batch_atoms, State(task, charge, spin))

    def predict(batch: Any) -> tuple[Tensor, Tensor]:
        output = unit.predict(batch, undo_element_references=False)
        return output["energy"].reshape(-1), output["forces"]

    with without_side_effects():
        check(teacher, predict)
    return teacher


def theory_of(checkpoint: str, task: str) -> str | None:
    """The level of theory of a model that fairchem-core knows by name, for a task; None if unknown."""
    from fairchem.core.calculate import pretrained_mlip

    if checkpoint not in pretrained_mlip.available_models:
        return None
    of_name = [theory for part, theory in THEORIES_OF_NAMES.items() if part in checkpoint]
    return of_name[0] if of_name else THEORIES_OF_TASKS.get(task)


def scale_of(unit: Any, task: str, name: str) -> Scale:
    """The scale of a predictor's energies for a task. Raises TeacherError for an unknown task."""
    entries = [entry for entry in unit.dataset_to_tasks.get(task, []) if entry.property == "energy"]
    if not entries:
        known = ", ".join(sorted(unit.dataset_to_tasks))
        raise TeacherError(f"teacher.task={task} must be a task that {name} was trained on", f"choose one of {known}")
    references = {}
    if entries[0].element_references is not None:
        values = entries[0].element_references.element_references.double().tolist()
        references = {number: value for number, value in enumerate(values) if number and value}
    normalizer = entries[0].normalizer
    return Scale(float(normalizer.rmsd), float(normalizer.mean), references)


def identity_of(
    name: str,
    path: Path,
    dtype: str,
    scale: Scale,
    model: Any,
    head: str | None,
    elements: list[str] | None = None,
    **about: Any,
) -> TeacherIdentity:
    """The identity of a teacher. elements: None: all with a reference energy, or if there are none, with an embedding.

    about: licence, level of theory and citation, None if unknown.
    """
    given = by_atomic_number(dict.fromkeys(elements or [], 0.0), "elements")
    known = given or scale.references or dict.fromkeys(range(1, model.backbone.max_num_elements), 0.0)
    return TeacherIdentity(
        name=name,
        checkpoint=combined_sha256(path),
        dtype=dtype,
        elements=tuple(sorted(known)),
        free_atom_energies=scale.references,
        head=head,
        versions={package: version(package) for package in ("torch", "fairchem-core", "e3nn")},
        **{field: text for field, text in about.items() if text},
    )


def file_of(checkpoint: str, repo: str | None) -> Path:
    """The file of a checkpoint, given by name or path; if necessary it is downloaded into fairchem-core's cache."""
    from fairchem.core._config import CACHE_DIR
    from fairchem.core.calculate import pretrained_mlip

    path = Path(checkpoint).expanduser()
    if path.is_file():
        return path
    known = pretrained_mlip._MODEL_CKPTS.checkpoints
    if checkpoint not in known:
        raise TeacherError(
            f"teacher.checkpoint={checkpoint} must be a file or a name that fairchem-core knows",
            f"give a file, or one of {', '.join(known)}",
        )
    entry = known[checkpoint]
    return fetch(repo or entry.repo_id, entry.filename, entry.subfolder, entry.revision, CACHE_DIR)


def check_precision(dtype: str) -> None:
    """Raise TeacherError for a dtype other than float32 and float64."""
    if dtype not in ("float32", "float64"):
        raise TeacherError(f"teacher.dtype={dtype} must be float64 or float32", "give teacher.dtype=float64 or float32")


@contextlib.contextmanager
def without_side_effects() -> Iterator[None]:
    """Undo changes of the random number generators after the block, and suppress log messages within it."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002  (which fairchem-core seeds)
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        logging.disable(before)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def import_fairchem() -> None:
    """Import fairchem-core without its output. Raises MissingExtra if it is not installed."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            import fairchem.core.units.mlip_unit  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "fairchem teachers need fairchem-core, which is not installed",
            "run `make env-fairchem`, or give teacher.python=INTERPRETER of an environment with jointkd[fairchem] (it "
            "cannot be the one of mace-torch)",
            extra="fairchem",
        ) from error

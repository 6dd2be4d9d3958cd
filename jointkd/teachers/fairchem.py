"""fairchem-core teachers: conserving models that fairchem-core 2.x loads by name or from a file (UMA, eSEN, …)."""

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
from jointkd.teachers.ase import numbered
from jointkd.teachers.fairchem_model import FairchemTeacher, Scale, State, check
from jointkd.teachers.hub import fetch

log = logging.getLogger(__name__)

# Of the models that fairchem-core knows by name: by what is in the name, else by task. Source: its pages on UMA.
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
    """A teacher of fairchem-core 2.x; checkpoint: a name that it knows, or a file (a pickle: its author is trusted).

    task: a data set that the model was trained on; charge, spin (2S + 1): of structures that say none, spin null: 1
    for omol and else 0, as such models were trained; repo: of the Hugging Face hub, where it is not the one that
    fairchem-core has in mind; head: how task, charge and spin identify the labels. The level of theory of a name, if
    none is given, is that of the task.
    Raises MissingExtra, TeacherError for a checkpoint that is not known, cannot be fetched or is not conserving.
    """
    import_fairchem()
    from fairchem.core.calculate import pretrained_mlip
    from fairchem.core.units.mlip_unit import InferenceSettings, load_predict_unit

    check_precision(dtype)
    device = device_of(device, "teacher.device")
    path = file_of(checkpoint, repo)
    log.info("loading %s: a pickle, which runs its author's code as it loads", path)
    settings = InferenceSettings(  # its other ways are faster on a GPU, and not made to be differentiated twice
        activation_checkpointing=False,
        base_precision_dtype=dtype,
        execution_mode="general",
        auto_add_default_untrained_tasks=False,
    )
    try:
        with undisturbed():
            unit = load_predict_unit(path, settings, device=device.partition(":")[0])
            unit.device = device
    except Exception as error:  # what a pickle holds raises what it likes
        raise TeacherError(
            f"teacher.checkpoint={checkpoint} is no model that fairchem-core {version('fairchem-core')} loads "
            f"({first_line(error)})",
            f"give a file of a model of fairchem-core 2.x, or one of {', '.join(pretrained_mlip.available_models)}; "
            "eSEN models of fairchem-core 1.x are for teacher=esen_oam",
        ) from error
    scale = scale_of(unit, task, name)
    model = unit.model.module
    about["level_of_theory"] = about.get("level_of_theory") or theory_of(checkpoint, task)
    identity = identity_of(name, path, dtype, scale, model, head, **about)
    spin = spin if spin is not None else int(task == "omol")
    teacher = FairchemTeacher(model, scale, identity, device, batch_atoms, State(task, charge, spin))

    def predict(batch: Any) -> tuple[Tensor, Tensor]:
        answers = unit.predict(batch, undo_element_references=False)
        return answers["energy"].reshape(-1), answers["forces"]

    with undisturbed():
        check(teacher, predict)
    return teacher


def theory_of(checkpoint: str, task: str) -> str | None:
    """The level of theory of a task of a model that fairchem-core knows by name; None of others, and of rare tasks."""
    from fairchem.core.calculate import pretrained_mlip

    if checkpoint not in pretrained_mlip.available_models:
        return None
    of_name = [theory for part, theory in THEORIES_OF_NAMES.items() if part in checkpoint]
    return of_name[0] if of_name else THEORIES_OF_TASKS.get(task)


def scale_of(unit: Any, task: str, name: str) -> Scale:
    """How a predictor of fairchem-core scales the energies of a task. Raises TeacherError for one that it lacks."""
    found = [entry for entry in unit.dataset_to_tasks.get(task, []) if entry.property == "energy"]
    if not found:
        known = ", ".join(sorted(unit.dataset_to_tasks))
        raise TeacherError(f"teacher.task={task} is none that {name} was trained on", f"choose one of {known}")
    references = {}
    if found[0].element_references is not None:
        values = found[0].element_references.element_references.double().tolist()
        references = {number: value for number, value in enumerate(values) if number and value}
    normalizer = found[0].normalizer
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
    """Who labels. elements: null: those with a reference energy, or where there are none all that have an embedding."""
    named = numbered(dict.fromkeys(elements or [], 0.0), "elements")
    known = named or scale.references or dict.fromkeys(range(1, model.backbone.max_num_elements), 0.0)
    return TeacherIdentity(
        name=name,
        checkpoint=combined_sha256(path),
        dtype=dtype,
        elements=tuple(sorted(known)),
        free_atom_energies=scale.references,
        head=head,
        versions={package: version(package) for package in ("torch", "fairchem-core", "e3nn")},
        **{field: said for field, said in about.items() if said},
    )


def file_of(checkpoint: str, repo: str | None) -> Path:
    """The file of a checkpoint by name or path, fetched into fairchem-core's cache where it is not there yet."""
    from fairchem.core._config import CACHE_DIR
    from fairchem.core.calculate import pretrained_mlip

    path = Path(checkpoint).expanduser()
    if path.is_file():
        return path
    known = pretrained_mlip._MODEL_CKPTS.checkpoints
    if checkpoint not in known:
        raise TeacherError(
            f"teacher.checkpoint={checkpoint} is no file, and no name that fairchem-core knows",
            f"give a file, or one of {', '.join(known)}",
        )
    entry = known[checkpoint]
    return fetch(repo or entry.repo_id, entry.filename, entry.subfolder, entry.revision, CACHE_DIR)


def check_precision(dtype: str) -> None:
    if dtype not in ("float32", "float64"):
        raise TeacherError(f"teacher.dtype={dtype} is no precision of fairchem-core", "choose float64 or float32")


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Within the block fairchem-core may seed random numbers and log as it likes; a run's own do not depend on it."""
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
    """Import fairchem-core in silence. Raises MissingExtra where it is not installed."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            import fairchem.core.units.mlip_unit  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "fairchem teachers need fairchem-core, which is not here",
            "run `make env-fairchem`, or give teacher.python=INTERPRETER of an environment with jointkd[fairchem] (it "
            "cannot be the one of mace-torch)",
            extra="fairchem",
        ) from error

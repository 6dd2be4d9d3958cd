"""MACE models as teachers: foundation models by name, `.model` files, and directories of plain weights."""

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from jointkd.errors import TeacherError, first_line
from jointkd.files.atomic import combined_sha256
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.runtime import default_dtype, device_of
from jointkd.structures.frame import Frame
from jointkd.structures.neighbors import neighbors
from jointkd.teachers import mace_model
from jointkd.teachers.base import check_elements, labels_of_batch
from jointkd.teachers.mace_files import fetch_known, fetch_url, import_mace
from jointkd.teachers.mace_parts import replace_modules

log = logging.getLogger(__name__)

# By a part of the names of MACE-MP models; the first match counts, and "" stands for MP-0 and MPA-0.
# Source: the releases of github.com/ACEsuit/mace-foundations.
MP_LICENCES = {
    "mh-": "ASL (non-commercial)",
    "matpes": "ASL (non-commercial)",
    "omat": "ASL (non-commercial)",
    "": "MIT",
}
MP_THEORIES = {
    "mh-": "several, one for each head",
    "matpes-r2scan": "r2SCAN, MatPES settings",
    "matpes": "PBE, MatPES settings",
    "omat": "PBE(+U), OMat24 settings",
    "": "PBE(+U), Materials Project settings",
}


class MaceTeacher:
    """A MACE model; see `Teacher`. The module is modified in place."""

    def __init__(self, module: Any, identity: TeacherIdentity, device: str, batch_atoms: int | None) -> None:
        if hasattr(module, "embedding_readout"):
            raise TeacherError(
                f"{identity.name} adds an energy that is not a sum over atoms",
                "choose a model without an embedding_readout",
            )
        self.dtype = {"float32": torch.float32, "float64": torch.float64}[identity.dtype]
        self.module = module.to(device=device, dtype=self.dtype).eval().requires_grad_(False)
        self.module.atomic_energies_fn.atomic_energies.zero_()  # too large for float32; labels add them
        replace_modules(self.module)
        self.identity = identity
        self.device = device
        self.batch_atoms = batch_atoms

    def label(self, frames: list[Frame], directions: list[np.ndarray]) -> list[TeacherLabels]:
        """Energies, forces and Hessian rows; see `Teacher`."""
        check_elements(frames, self.identity)
        batch = self._batch(frames)
        with_rows = any(len(ids) for ids in directions)
        output = self.module(batch, training=with_rows, compute_force=True)
        return labels_of_batch(
            self.identity, frames, directions, output["node_energy"], output["forces"], batch["positions"]
        )

    def _batch(self, frames: list[Frame]) -> dict[str, torch.Tensor]:
        from mace.data import AtomicData, config_from_atoms
        from mace.tools import AtomicNumberTable
        from mace.tools.torch_geometric.batch import Batch

        table = AtomicNumberTable(list(self.identity.elements))
        heads = heads_of(self.module)
        graphs = []
        for frame in frames:
            atoms = frame.to_ase()
            atoms.positions -= atoms.positions.mean(0)  # far from the origin, neighbour lists need much memory
            partly_periodic = atoms.pbc.any() and not atoms.pbc.all()
            if partly_periodic:
                atoms.pbc = False  # mace-torch 0.3.16 finds wrong neighbours if the other axes are not x, y or z
            configuration = config_from_atoms(atoms, head_name=self.identity.head or heads[0])
            with default_dtype(self.dtype):
                graph = AtomicData.from_config(configuration, table, cutoff=float(self.module.r_max), heads=heads)
            if partly_periodic:
                self._set_neighbors(graph, frame)
            graphs.append(graph)
        return Batch.from_data_list(graphs).to(self.device).to_dict()

    def _set_neighbors(self, graph: Any, frame: Frame) -> None:
        """Give a graph of mace-torch the neighbours of a structure. Its edges have `shifts` of the opposite sign."""
        near = neighbors(frame.positions, frame.cell, frame.pbc, float(self.module.r_max))
        graph.edge_index, graph.shifts = near.edge_index, -near.edge_shift.to(self.dtype)
        graph.unit_shifts = torch.zeros_like(graph.shifts)  # only for derivatives by strain


def from_checkpoint(
    checkpoint: str,
    name: str,
    dtype: str,
    device: str | None,
    batch_atoms: int | None,
    head: str | None = None,
    sha256: str | None = None,
    **about: str | None,
) -> MaceTeacher:
    """A teacher from a `.model` file (a pickle, whose author is trusted), its URL, or a directory of plain weights.

    sha256: checksum of a file that is downloaded. Raises TeacherError if the file is missing or is not a MACE model,
    MissingExtra without mace-torch, DataError if the download fails.
    """
    is_url = checkpoint.startswith(("http://", "https://"))
    path = fetch_url(checkpoint, sha256) if is_url else Path(checkpoint).expanduser()
    if not path.exists():
        raise TeacherError(f"teacher.checkpoint={path} does not exist", "give the path of a MACE .model file")
    import_mace()
    if path.is_dir():
        try:
            with default_dtype(torch.float64):
                module, card = mace_model.load(path)
            about = {
                **{field: str(card[field]) for field in ("licence", "level_of_theory", "citation")},
                **without_unknown(about),
            }
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise TeacherError(
                f"teacher.checkpoint={path} is not a directory of plain MACE weights ({error})", "copy it again"
            ) from error
    else:
        log.info("loading %s: a pickle, which runs its author's code as it loads", path)
        module = load_pickle(path)
    return teacher(module, path, name, dtype, device, batch_atoms, head, **without_unknown(about))


def without_unknown(about: dict[str, str | None]) -> dict[str, str]:
    """Licence, level of theory and citation of a teacher, as far as they are given."""
    return {field: text for field, text in about.items() if text}


def first_match(size: str, values: dict[str, str]) -> str:
    """The first value whose key is a part of the name of a MACE-MP model."""
    return next(value for part, value in values.items() if part in size)


def foundation(
    family: str,
    size: str,
    name: str,
    dtype: str,
    device: str | None,
    batch_atoms: int | None,
    head: str | None = None,
    url: str | None = None,
    sha256: str | None = None,
    **about: str | None,
) -> MaceTeacher:
    """A foundation model that mace-torch knows by name, without dispersion. family: mace_off or mace_mp.

    url, sha256: of a model that mace-torch does not know; `size` is then only a part of its name. The defaults of
    licence and level of theory are those of the size. The file is downloaded unless it is in mace-torch's cache.

    Raises TeacherError for an unknown size or a failed download, MissingExtra without mace-torch, DataError if the
    download from `url` fails.
    """
    import_mace()
    path = fetch_known(family, size) if url is None else fetch_url(url, sha256)
    if family == "mace_mp":
        defaults = {"licence": first_match(size, MP_LICENCES), "level_of_theory": first_match(size, MP_THEORIES)}
        about = {**defaults, **without_unknown(about)}
    return teacher(load_pickle(path), path, name, dtype, device, batch_atoms, head, **without_unknown(about))


def teacher(
    module: Any,
    path: Path,
    name: str,
    dtype: str,
    device: str | None,
    batch_atoms: int | None,
    head: str | None,
    **about: Any,
) -> MaceTeacher:
    """A teacher from a loaded module and its file. Raises TeacherError for an unknown dtype or head, ConfigError."""
    if dtype not in ("float32", "float64"):
        raise TeacherError(f"teacher.dtype={dtype} must be float64 or float32", "give teacher.dtype=float64 or float32")
    device = device_of(device, "teacher.device")
    heads = heads_of(module)
    if head not in heads and (head is not None or len(heads) > 1):
        raise TeacherError(
            f"teacher.head={head or 'null'} must be a head of {name}", f"choose one of {', '.join(heads)}"
        )
    numbers = [int(z) for z in module.atomic_numbers]
    energies_of_heads = module.atomic_energies_fn.atomic_energies.detach().double().reshape(-1, len(numbers))
    energies = energies_of_heads[heads.index(head) if head else 0]
    identity = TeacherIdentity(
        name=name,
        checkpoint=combined_sha256(path),
        dtype=dtype,
        elements=tuple(numbers),
        free_atom_energies=dict(zip(numbers, energies.tolist(), strict=True)),
        head=head,
        versions={package: version(package) for package in ("torch", "mace-torch", "e3nn")},
        **about,
    )
    return MaceTeacher(module, identity, device, batch_atoms)


def heads_of(module: Any) -> list[str]:
    """The heads of a model, one for each level of theory; the oldest models have a single head without a name."""
    return list(getattr(module, "heads", None) or ["Default"])


def load_pickle(path: Path) -> Any:
    """The module of a `.model` file. Raises TeacherError for other files."""
    try:
        module = torch.load(path, map_location="cpu", weights_only=False)
        check_is_model(module, path)
        module.atomic_numbers, module.r_max, module.atomic_energies_fn  # noqa: B018
    except TeacherError:
        raise
    except Exception as error:
        raise TeacherError(
            f"{path} cannot be loaded as a MACE model ({first_line(error)})", "download the file again"
        ) from error
    return module


def check_is_model(loaded: Any, path: Path) -> None:
    """Raise TeacherError for the files that MACE writes beside a model: checkpoints of a training, and exports."""
    if isinstance(loaded, dict):
        kind = "a checkpoint of a training, which holds weights but no model"
    elif isinstance(loaded, torch.jit.ScriptModule):
        kind = "a TorchScript export, such as that for LAMMPS"
    else:
        return
    beside = sorted(file.name for folder in (path.parent, path.parent.parent) for file in folder.glob("*.model"))
    found = f", such as {beside[0]}" if beside else ""
    raise TeacherError(f"{path} is {kind}", f"give the .model file that was written beside it{found}")

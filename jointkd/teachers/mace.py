"""MACE teachers: foundation models by name, any `.model` file, and plain-weight directories."""

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from jointkd.errors import TeacherError
from jointkd.files.atomic import combined_sha256
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.runtime import default_dtype, device_of
from jointkd.structures.frame import Frame
from jointkd.teachers import mace_model, mace_parts
from jointkd.teachers.base import check_elements, hessian_rows
from jointkd.teachers.mace_files import fetch_known, fetch_url, import_mace

log = logging.getLogger(__name__)

# By what the names of MACE-MP models hold, in the order it is looked for; the last are MP-0 and MPA-0.
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
    """A MACE model that labels; see `Teacher` for batch_atoms. The module is taken over, and changed."""

    def __init__(self, module: Any, identity: TeacherIdentity, device: str, batch_atoms: int | None) -> None:
        if hasattr(module, "embedding_readout"):
            raise TeacherError(
                f"{identity.name} adds an energy that it does not give per atom", "take a model without such a readout"
            )
        self.dtype = {"float32": torch.float32, "float64": torch.float64}[identity.dtype]
        self.module = module.to(device=device, dtype=self.dtype).eval().requires_grad_(False)
        self.module.atomic_energies_fn.atomic_energies.zero_()  # in float32 they drown the rest; `label` adds them
        mace_parts.exchange(self.module)
        self.identity = identity
        self.device = device
        self.batch_atoms = batch_atoms

    def label(self, frames: list[Frame], row_ids: list[np.ndarray]) -> list[TeacherLabels]:
        """Energies without the free atoms', forces and Hessian rows; see `Teacher`."""
        check_elements(frames, self.identity)
        batch = self._batch(frames)
        differentiable = any(len(ids) for ids in row_ids)
        output = self.module(batch, training=differentiable, compute_force=True)
        atomic = output["node_energy"].detach().double().cpu().numpy()
        forces = output["forces"].detach().cpu().numpy()
        rows = hessian_rows(output["forces"], batch["positions"], batch["ptr"], row_ids)
        parts = [slice(a, b) for a, b in zip(batch["ptr"][:-1].tolist(), batch["ptr"][1:].tolist(), strict=True)]
        return [
            TeacherLabels(
                energy=float(atomic[part].sum() + sum(self.identity.free_atom_energies[int(z)] for z in frame.numbers)),
                atomic_energies=atomic[part],
                forces=forces[part],
                hessian_rows=rows[b],
                row_ids=row_ids[b],
            )
            for b, (frame, part) in enumerate(zip(frames, parts, strict=True))
        ]

    def _batch(self, frames: list[Frame]) -> dict[str, torch.Tensor]:
        from ase import Atoms
        from mace.data import AtomicData, config_from_atoms
        from mace.tools import AtomicNumberTable
        from mace.tools.torch_geometric.batch import Batch

        table = AtomicNumberTable(list(self.identity.elements))
        heads = heads_of(self.module)
        graphs = []
        for frame in frames:
            centred = frame.positions - frame.positions.mean(0)  # far from the origin neighbour lists grow huge
            atoms = Atoms(frame.numbers, centred, cell=frame.cell, pbc=frame.pbc)
            configuration = config_from_atoms(atoms, head_name=self.identity.head or heads[0])
            with default_dtype(self.dtype):
                graphs.append(
                    AtomicData.from_config(configuration, table, cutoff=float(self.module.r_max), heads=heads)
                )
        return Batch.from_data_list(graphs).to(self.device).to_dict()


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
    """A teacher from a `.model` file (a pickle: its author is trusted), its URL, or a directory of plain weights.

    sha256: of a file that is fetched. Raises TeacherError where the file is missing or is no MACE model, MissingExtra
    without mace-torch, DataError where a URL does not give the file.
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
                **stated(about),
            }
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise TeacherError(f"teacher.checkpoint={path} is no plain MACE model ({error})", "copy it anew") from error
    else:
        log.info("loading %s: a pickle, which runs its author's code as it loads", path)
        module = load_pickle(path)
    return teacher(module, path, name, dtype, device, batch_atoms, head, **stated(about))


def stated(about: dict[str, str | None]) -> dict[str, str]:
    """What is said of a teacher, without what is left open."""
    return {field: said for field, said in about.items() if said}


def of_size(size: str, family: dict[str, str]) -> str:
    """What holds for a MACE-MP model of that name."""
    return next(value for part, value in family.items() if part in size)


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
    """A foundation model that mace-torch knows by name: family `mace_off` or `mace_mp`, without dispersion.

    url: of one that it does not know, and its checksum; `size` then only names it. A licence or level of theory that is
    not given is that of the size. Taken from mace-torch's cache, or fetched into it. Raises TeacherError for an unknown
    size, or where it cannot be fetched, MissingExtra without mace-torch, DataError where `url` does not give the file.
    """
    import_mace()
    path = fetch_known(family, size) if url is None else fetch_url(url, sha256)
    if family == "mace_mp":
        known_of_size = {"licence": of_size(size, MP_LICENCES), "level_of_theory": of_size(size, MP_THEORIES)}
        about = {**known_of_size, **stated(about)}
    return teacher(load_pickle(path), path, name, dtype, device, batch_atoms, head, **stated(about))


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
    """A loaded module and where it came from make a teacher. Raises TeacherError for a head that it does not have."""
    if dtype not in ("float32", "float64"):
        raise TeacherError(f"teacher.dtype={dtype} is not a precision of MACE", "choose float64 or float32")
    device = device_of(device, "teacher.device")
    heads = heads_of(module)
    if head not in heads and (head is not None or len(heads) > 1):
        raise TeacherError(
            f"teacher.head={head or 'null'} is no head of {name}", f"choose one with teacher.head=…: {', '.join(heads)}"
        )
    numbers = [int(z) for z in module.atomic_numbers]
    of_heads = module.atomic_energies_fn.atomic_energies.detach().double().reshape(-1, len(numbers))
    energies = of_heads[heads.index(head) if head else 0]
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
    """The levels of theory that a model was trained on at once; the oldest models have one without a name."""
    return list(getattr(module, "heads", None) or ["Default"])


def load_pickle(path: Path) -> Any:
    """The module of a `.model` file. Raises TeacherError where it is none."""
    try:
        module = torch.load(path, map_location="cpu", weights_only=False)
        module.atomic_numbers, module.r_max, module.atomic_energies_fn  # noqa: B018
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TeacherError(f"{path} is no MACE model that loads here ({reason})", "fetch the file again") from error
    return module

"""MACE teachers: foundation models by name, any `.model` file, and plain-weight directories."""

import contextlib
import io
import logging
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jointkd.errors import MissingExtra, TeacherError
from jointkd.frame import Frame
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.teachers import mace_model
from jointkd.teachers.base import check_elements, hessian_rows, sha256_of

log = logging.getLogger(__name__)


class MaceTeacher:
    """A MACE model that labels. batch_atoms: structures are differentiated together up to that many atoms."""

    def __init__(self, module: torch.nn.Module, identity: TeacherIdentity, device: str, batch_atoms: int) -> None:
        if hasattr(module, "embedding_readout"):
            raise TeacherError(
                f"{identity.name} adds an energy that it does not give per atom", "take a model without such a readout"
            )
        self.dtype = getattr(torch, identity.dtype)
        self.module = module.to(device=device, dtype=self.dtype).eval().requires_grad_(False)
        self.identity = identity
        self.device = device
        self.batch_atoms = batch_atoms

    def label(self, frames: list[Frame], row_ids: list[np.ndarray]) -> list[TeacherLabels]:
        """Energies without the free atoms', forces and Hessian rows; see `Teacher`."""
        check_elements(frames, self.identity)
        batch = self._batch(frames)
        output = self.module(batch, training=True, compute_force=True)
        heads = batch["head"][batch["batch"]]
        free = self.module.atomic_energies_fn(batch["node_attrs"])[torch.arange(len(heads)), heads].double()
        atomic = (output["node_energy"].double() - free).detach().cpu().numpy()
        free_total = free.detach().cpu().numpy()
        forces = output["forces"].detach().cpu().numpy()
        rows = hessian_rows(output["forces"], batch["positions"], batch["ptr"], row_ids)
        parts = [slice(a, b) for a, b in zip(batch["ptr"][:-1].tolist(), batch["ptr"][1:].tolist(), strict=True)]
        return [
            TeacherLabels(
                energy=float(atomic[part].sum() + free_total[part].sum()),
                atomic_energies=atomic[part],
                forces=forces[part],
                hessian_rows=rows[b],
                row_ids=row_ids[b],
            )
            for b, part in enumerate(parts)
        ]

    def _batch(self, frames: list[Frame]) -> dict[str, torch.Tensor]:
        from ase import Atoms
        from mace.data import AtomicData, config_from_atoms
        from mace.tools import AtomicNumberTable
        from mace.tools.torch_geometric.batch import Batch

        table = AtomicNumberTable(list(self.identity.elements))
        heads = getattr(self.module, "heads", None)
        graphs = []
        for frame in frames:
            centred = frame.positions - frame.positions.mean(0)  # far from the origin neighbour lists grow huge
            atoms = Atoms(frame.numbers, centred, cell=frame.cell, pbc=frame.pbc)
            configuration = config_from_atoms(atoms)
            if heads:
                configuration.head = heads[0]
            with default_dtype(self.dtype):
                graphs.append(
                    AtomicData.from_config(configuration, table, cutoff=float(self.module.r_max), heads=heads)
                )
        return Batch.from_data_list(graphs).to(self.device).to_dict()


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Any:
    """torch's default dtype for the length of a block; mace-torch builds its tensors in it."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def from_checkpoint(
    checkpoint: str, name: str, dtype: str, device: str | None, batch_atoms: int, **about: str
) -> MaceTeacher:
    """A teacher from a `.model` file (a pickle: its author is trusted) or from a directory of plain weights.

    Raises TeacherError where the file is missing or is no MACE model, MissingExtra without mace-torch.
    """
    path = Path(checkpoint).expanduser()
    if not path.exists():
        raise TeacherError(f"teacher.checkpoint={path} does not exist", "give the path of a MACE .model file")
    import_mace()
    if path.is_dir():
        try:
            with default_dtype(torch.float64):
                module, card = mace_model.load(path)
        except (OSError, KeyError, ValueError) as error:
            raise TeacherError(f"teacher.checkpoint={path} is no plain MACE model ({error})", "copy it anew") from error
        about = {field: str(card[field]) for field in ("licence", "level_of_theory", "citation")} | about
    else:
        log.info("loading %s: a pickle, which runs its author's code as it loads", path)
        module = load_pickle(path)
    return teacher(module, name, path, dtype, device, batch_atoms, **about)


def foundation(
    family: str, size: str, name: str, dtype: str, device: str | None, batch_atoms: int, **about: str
) -> MaceTeacher:
    """A foundation model that mace-torch knows by name: family `mace_off` or `mace_mp`, without dispersion.

    Taken from mace-torch's cache, or fetched into it. Raises TeacherError for an unknown size, or where it cannot
    be fetched.
    """
    import_mace()
    from mace.calculators import foundations_models

    known = {
        "mace_off": list(foundations_models.mace_off_urls),
        "mace_mp": [entry for entry in foundations_models.mace_mp_names if entry],
    }[family]
    if size not in known:
        raise TeacherError(f"teacher.size={size!r} is no {family} model", f"choose one of {', '.join(known)}")
    fetch = {"mace_off": fetch_off, "mace_mp": foundations_models.download_mace_mp_checkpoint}[family]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            path = Path(fetch(size))
    except (RuntimeError, OSError) as error:
        cause = error.__cause__ or error
        raise TeacherError(
            f"the {family} model {size!r} could not be fetched ({cause})",
            f"fetch it elsewhere and give it as teacher=mace teacher.checkpoint=FILE, or put it into {cache()}",
        ) from error
    return teacher(load_pickle(path), name, path, dtype, device, batch_atoms, **about)


def fetch_off(size: str) -> str:
    """The file of a MACE-OFF model in mace-torch's cache, fetched by mace-torch where it is not there yet."""
    from mace.calculators import foundations_models

    target = cache() / Path(foundations_models.mace_off_urls[size]).name.split("?")[0]
    if not target.exists():
        foundations_models.mace_off(model=size, device="cpu", return_raw_model=True)
    return str(target)


def cache() -> Path:
    """Where mace-torch keeps what it fetched."""
    from mace.calculators.foundations_models import get_cache_dir

    return Path(get_cache_dir())


def teacher(
    module: torch.nn.Module, name: str, path: Path, dtype: str, device: str | None, batch_atoms: int, **about: str
) -> MaceTeacher:
    """A loaded module and where it came from make a teacher."""
    numbers = [int(z) for z in module.atomic_numbers]
    energies = module.atomic_energies_fn.atomic_energies.detach().double().reshape(-1, len(numbers))[0]
    identity = TeacherIdentity(
        name=name,
        checkpoint=sha256_of(path),
        dtype=dtype,
        elements=tuple(numbers),
        free_atom_energies=dict(zip(numbers, energies.tolist(), strict=True)),
        versions={package: version(package) for package in ("torch", "mace-torch", "e3nn")},
        **about,
    )
    return MaceTeacher(module, identity, device or ("cuda" if torch.cuda.is_available() else "cpu"), batch_atoms)


def load_pickle(path: Path) -> Any:
    """The module of a `.model` file. Raises TeacherError where it is none."""
    try:
        module = torch.load(path, map_location="cpu", weights_only=False)
        module.atomic_numbers, module.r_max, module.atomic_energies_fn  # noqa: B018
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TeacherError(f"{path} is no MACE model that loads here ({reason})", "fetch the file again") from error
    return module


def import_mace() -> None:
    """Import mace-torch (before e3nn, whose constants load only then). Raises MissingExtra where it is absent."""
    warnings.filterwarnings("ignore", message=".*TorchScript.*|.*weights_only.*", category=UserWarning)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import mace  # noqa: F401
    except ImportError as error:
        raise MissingExtra("mace-torch is not installed, and MACE teachers need it", "pip install 'jointkd[mace]'") from (
            error
        )



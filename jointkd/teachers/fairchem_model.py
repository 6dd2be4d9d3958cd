"""A model of fairchem-core 2.x that labels, and the check that it is read rightly."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import covalent_radii
from torch import Tensor

from jointkd.errors import TeacherError
from jointkd.labels.checks import BOUNDS, displaced, displacements
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.structures.frame import Frame
from jointkd.teachers import allscaip
from jointkd.teachers.base import check_elements, hessian_rows

log = logging.getLogger(__name__)

DERIVATIVES = ("forces", "stress", "hessian", "regress_forces", "regress_stress")  # switches of a model and its parts
Predict = Callable[[Any], tuple[Tensor, Tensor]]  # a batch → energies [B] eV, no references, and forces [N, 3] eV/Å


@dataclass(frozen=True)
class Scale:
    """What makes energies in eV of a model's outputs: output · rmsd, + mean per structure, + references per element."""

    rmsd: float  # eV
    mean: float  # eV
    references: dict[int, float]  # eV by atomic number; {} where the model has none


@dataclass(frozen=True)
class Architecture:
    """What is different in models of fairchem-core."""

    energies: str  # the layer of the head whose outputs are an energy per atom
    differentiable: Callable[[torch.dtype], contextlib.AbstractContextManager] = contextlib.nullcontext  # to run it in
    caveat: str = ""  # what is to be known of its labels


ARCHITECTURES = {
    "eSEN or UMA": Architecture("energy_block"),
    "AllScAIP": Architecture("energy_ffn", allscaip.differentiable, allscaip.CAVEAT),
}


@dataclass(frozen=True)
class State:
    """What a model is told besides the atoms; charge and spin (2S + 1) are of structures that do not say their own."""

    task: str | None = None  # which of its data sets it predicts for
    charge: int = 0
    spin: int = 0


class FairchemTeacher:
    """A model of fairchem-core 2.x that labels; see `Teacher` for batch_atoms."""

    def __init__(
        self, model: Any, scale: Scale, identity: TeacherIdentity, device: str, batch_atoms: int | None, state: State
    ) -> None:
        if model.backbone.regress_config.direct_forces:
            raise TeacherError(
                f"{identity.name} predicts forces directly: they are no derivatives of its energy, and have no Hessian",
                "take a conserving model",
            )
        self.dtype = getattr(torch, identity.dtype)
        self.model = model.to(device=device, dtype=self.dtype).eval().requires_grad_(False)
        self.scale, self.identity, self.state = scale, identity, state
        self.device, self.batch_atoms = device, batch_atoms
        self._outputs: list[Tensor] = []
        self.architecture, layer = architecture_of(model, identity.name)
        layer.register_forward_hook(lambda *call: self._outputs.append(call[-1]))
        if self.architecture.caveat:
            log.warning("%s: %s", identity.name, self.architecture.caveat)

    def label(self, frames: list[Frame], row_ids: list[np.ndarray]) -> list[TeacherLabels]:
        """Energies without the element references, forces and Hessian rows; see `Teacher`."""
        check_elements(frames, self.identity)
        batch = self.batch(frames)
        atomic = self.atomic_energies(batch)
        differentiated = any(len(ids) for ids in row_ids)
        (gradient,) = torch.autograd.grad(atomic.sum(), batch.pos, create_graph=differentiated)
        first = torch.cat([torch.zeros_like(batch.natoms[:1]), batch.natoms.cumsum(0)])
        rows = hessian_rows(-gradient, batch.pos, first, row_ids)
        inner = first.tolist()[1:-1]
        energies = np.split(atomic.detach().double().cpu().numpy(), inner)
        forces = np.split(-gradient.detach().cpu().numpy(), inner)
        free = self.identity.free_atom_energies
        return [
            TeacherLabels(
                energy=float(energies[b].sum() + sum(free.get(int(z), 0.0) for z in frame.numbers)),
                atomic_energies=energies[b],
                forces=forces[b],
                hessian_rows=rows[b],
                row_ids=row_ids[b],
            )
            for b, frame in enumerate(frames)
        ]

    def atomic_energies(self, batch: Any) -> Tensor:
        """[N] eV without element references, with a graph back to the positions of a batch."""
        batch.pos.requires_grad_(True)
        self._outputs.clear()
        with energies_alone(self.model), self.architecture.differentiable(self.dtype):
            self.model(batch)
        (outputs,) = self._outputs
        mean = self.scale.mean / batch.natoms.to(self.dtype)
        return outputs.reshape(-1)[: len(batch.pos)] * self.scale.rmsd + mean[batch.batch]

    def batch(self, frames: list[Frame]) -> Any:
        """fairchem-core's batch of some structures."""
        from fairchem.core.datasets.atomic_data import AtomicData, atomicdata_list_to_batch

        graphs = []
        for frame in frames:
            centred = frame.positions - frame.positions.mean(0)
            info = {name: own(frame, name, getattr(self.state, name)) for name in ("charge", "spin")}
            graphs.append(
                AtomicData.from_ase(
                    Atoms(frame.numbers, centred, cell=frame.cell, pbc=frame.pbc, info=info),
                    task_name=self.state.task,
                    target_dtype=self.dtype,
                    r_data_keys=["spin", "charge"],  # without which both are silently zero
                )
            )
        return atomicdata_list_to_batch(graphs).to(self.device)


def architecture_of(model: Any, name: str) -> tuple[Architecture, torch.nn.Module]:
    """The architecture of a model, and its layer with an energy per atom. Raises TeacherError where none is known."""
    layers = [(place.rpartition(".")[2], layer) for place, layer in model.named_modules()]
    found = [(known, layer) for known in ARCHITECTURES.values() for kind, layer in layers if kind == known.energies]
    if len(found) != 1:
        raise TeacherError(
            f"{name} has {len(found)} layers that are known to give energies of atoms, not one",
            f"take a model that is {' or '.join(ARCHITECTURES)}",
        )
    return found[0]


def own(frame: Frame, name: str, default: int) -> int:
    """The charge or spin of a structure. Raises TeacherError where it says one that is no integer."""
    said = frame.info.get(name, default)
    try:
        if float(said) == int(said):
            return int(said)
    except (TypeError, ValueError):
        pass
    raise TeacherError(f"{frame.source or frame.key} says {name}={said!r}", "give an integer in the file")


@contextlib.contextmanager
def energies_alone(model: Any) -> Iterator[None]:
    """Within the block a model leaves derivatives to us. eSEN and UMA go by one config, AllScAIP by each part's own."""
    parts = (model.backbone.regress_config, *model.modules())
    switches = [(part, name) for part in parts for name in DERIVATIVES if vars(part).get(name) is True]
    for part, name in switches:
        setattr(part, name, False)
    try:
        yield
    finally:
        for part, name in switches:
            setattr(part, name, True)


def check(teacher: FairchemTeacher, predict: Predict) -> None:
    """Raises TeacherError unless a molecule and a crystal show what a teacher must: atomic energies that sum to what
    the model itself predicts, its forces, and forces that are differences of energies.
    """
    name, bounds = teacher.identity.name, BOUNDS[teacher.identity.dtype]
    frames = samples(teacher.identity.elements)
    batch = teacher.batch(frames)
    with teacher.architecture.differentiable(teacher.dtype):
        energies, forces = (answer.detach().double() for answer in predict(batch))
    atomic = teacher.atomic_energies(batch)
    (gradient,) = torch.autograd.grad(atomic.sum(), batch.pos)
    gradient = gradient.double()
    totals = torch.zeros_like(energies).index_add(0, batch.batch, atomic.detach().double())
    largest = float(gradient.abs().max())
    moves = [displacements(frame, bounds.step)[:1] for frame in frames]
    moved = [copy for frame, move in zip(frames, moves, strict=True) for copy in displaced(frame, move)]
    around = [float(teacher.atomic_energies(teacher.batch([frame])).detach().sum()) for frame in moved]
    slopes = np.array(around[::2]) - around[1::2]
    parts = np.split(gradient.cpu().numpy(), np.cumsum([len(frame) for frame in frames])[:-1])
    expected = np.array([2 * (part * move[0]).sum() for part, move in zip(parts, moves, strict=True)])
    errors = {
        "the energies of its atoms do not sum to the energy": (
            float((totals - energies).abs().max()) / max(map(len, frames)),
            bounds.energy,
        ),
        "its forces are not the derivatives of its energy": (
            float((gradient + forces).abs().max()) / largest,
            bounds.symmetry,
        ),
        "its forces are not differences of its energies": (
            float(np.abs(slopes - expected).max()) / (2 * bounds.step * largest),
            bounds.differences,
        ),
    }
    for problem, (found, allowed) in errors.items():
        if not found <= allowed:
            raise TeacherError(
                f"{name} fails its check: {problem} (off by {found:.1e}, bound {allowed:.0e})",
                "take another model, or another version of fairchem-core",
            )


def samples(elements: tuple[int, ...]) -> list[Frame]:
    """A bent molecule of three atoms and a crystal of two, of elements that a teacher knows; none along an axis."""
    z = np.array([number for number in (8, 1, *elements) if number in elements][:2])
    a, b = z[0], z[-1]
    bond = 1.1 * (covalent_radii[a] + covalent_radii[b])
    bent = bond * np.array([[0.0, 0.0, 0.0], [0.72, 0.31, 0.62], [-0.66, 0.55, -0.51]])
    cell = bond * np.array([[1.05, 1.31, 0.17], [0.21, 1.12, 1.18], [1.26, -0.13, 1.09]])
    pair = np.array([[0.0, 0.0, 0.0], [0.46, 0.53, 0.51]]) @ cell
    return [
        Frame(np.array([a, b, b]), bent, source="a molecule"),
        Frame(np.array([a, b]), pair, cell, np.ones(3, dtype=bool), source="a crystal"),
    ]

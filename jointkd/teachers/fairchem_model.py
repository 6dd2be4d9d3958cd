"""Labels from a model of fairchem-core 2.x, and the check that its energies and forces are reproduced."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ase.data import covalent_radii
from torch import Tensor

from jointkd.errors import TeacherError
from jointkd.labels.checks import BOUNDS, displaced, displacements
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.structures.frame import Frame
from jointkd.teachers import allscaip
from jointkd.teachers.base import check_elements, labels_of_batch
from jointkd.teachers.charges import charge_or_spin

log = logging.getLogger(__name__)

DERIVATIVES = ("forces", "stress", "hessian", "regress_forces", "regress_stress")  # flags that enable derivatives
Predict = Callable[[Any], tuple[Tensor, Tensor]]  # a batch → energies [B] eV without references, forces [N, 3] eV/Å


@dataclass(frozen=True)
class Scale:
    """The scale of a model's energies: energy = rmsd · output + mean + Σ references of the atoms."""

    rmsd: float  # eV
    mean: float  # eV per structure
    references: dict[int, float]  # eV by atomic number; {} if the model has none


@dataclass(frozen=True)
class Architecture:
    """Properties in which the models of fairchem-core differ."""

    energies: str  # name of the head's layer with atomic energies as output
    differentiable: Callable[[torch.dtype], contextlib.AbstractContextManager] = contextlib.nullcontext  # for forward
    caveat: str = ""  # a warning about its labels


ARCHITECTURES = {
    "eSEN or UMA": Architecture("energy_block"),
    "AllScAIP": Architecture("energy_ffn", allscaip.differentiable, allscaip.CAVEAT),
}


@dataclass(frozen=True)
class State:
    """Inputs of a model besides the atoms; charge and spin (2S + 1) are of structures without their own."""

    task: str | None = None  # the data set of the training that it predicts for
    charge: int = 0
    spin: int = 0


class FairchemTeacher:
    """A conservative model of fairchem-core 2.x; see `Teacher`."""

    def __init__(
        self, model: Any, scale: Scale, identity: TeacherIdentity, device: str, batch_atoms: int | None, state: State
    ) -> None:
        if model.backbone.regress_config.direct_forces:
            raise TeacherError(
                f"{identity.name} predicts forces directly: they are not derivatives of an energy and have no Hessian",
                "choose a conservative model",
            )
        self.dtype = getattr(torch, identity.dtype)
        self.model = model.to(device=device, dtype=self.dtype).eval().requires_grad_(False)
        self.scale, self.identity, self.state = scale, identity, state
        self.device, self.batch_atoms = device, batch_atoms
        self.takes_charge = state.task == "omol"  # the other models were trained without
        self._outputs: list[Tensor] = []
        self.architecture, layer = architecture_of(model, identity.name)
        layer.register_forward_hook(lambda *call: self._outputs.append(call[-1]))
        if self.architecture.caveat:
            log.warning("%s: %s", identity.name, self.architecture.caveat)

    def label(self, frames: list[Frame], directions: list[np.ndarray]) -> list[TeacherLabels]:
        """Energies, forces and Hessian rows; atomic energies are without the element references; see `Teacher`."""
        check_elements(frames, self.identity)
        batch = self.batch(frames)
        atomic = self.atomic_energies(batch)
        with_rows = any(len(ids) for ids in directions)
        (gradient,) = torch.autograd.grad(atomic.sum(), batch.pos, create_graph=with_rows)
        return labels_of_batch(self.identity, frames, directions, atomic, -gradient, batch.pos)

    def atomic_energies(self, batch: Any) -> Tensor:
        """[N] eV, without element references, with an autograd graph to the positions of the batch."""
        batch.pos.requires_grad_(True)
        self._outputs.clear()
        with without_derivatives(self.model), self.architecture.differentiable(self.dtype):
            self.model(batch)
        (outputs,) = self._outputs
        mean = self.scale.mean / batch.natoms.to(self.dtype)
        return outputs.reshape(-1)[: len(batch.pos)] * self.scale.rmsd + mean[batch.batch]

    def batch(self, frames: list[Frame]) -> Any:
        """A batch of structures in the format of fairchem-core."""
        from fairchem.core.datasets.atomic_data import AtomicData, atomicdata_list_to_batch

        graphs = []
        for frame in frames:
            atoms = frame.to_ase()
            atoms.positions -= atoms.positions.mean(0)
            for name in ("charge", "spin"):
                atoms.info[name] = charge_or_spin(frame, name, getattr(self.state, name))
            graphs.append(
                AtomicData.from_ase(
                    atoms,
                    task_name=self.state.task,
                    target_dtype=self.dtype,
                    r_data_keys=["spin", "charge"],  # otherwise both are zero, without a warning
                )
            )
        return atomicdata_list_to_batch(graphs).to(self.device)


def architecture_of(model: Any, name: str) -> tuple[Architecture, torch.nn.Module]:
    """The architecture of a model, and its layer of atomic energies. Raises TeacherError for unknown architectures."""
    layers = [(path.rpartition(".")[2], layer) for path, layer in model.named_modules()]
    matches = [(known, layer) for known in ARCHITECTURES.values() for kind, layer in layers if kind == known.energies]
    if len(matches) != 1:
        raise TeacherError(
            f"{name} must have one layer known to output atomic energies, but it has {len(matches)}",
            f"choose a model of the architectures {' or '.join(ARCHITECTURES)}",
        )
    return matches[0]


@contextlib.contextmanager
def without_derivatives(model: Any) -> Iterator[None]:
    """Within the block, a model computes energies only.

    The flags are in one configuration of eSEN and UMA models, and in each module of AllScAIP models.
    """
    owners = (model.backbone.regress_config, *model.modules())
    flags = [(owner, name) for owner in owners for name in DERIVATIVES if vars(owner).get(name) is True]
    for owner, name in flags:
        setattr(owner, name, False)
    try:
        yield
    finally:
        for owner, name in flags:
            setattr(owner, name, True)


def check(teacher: FairchemTeacher, predict: Predict) -> None:
    """Check a teacher on a molecule and a crystal. Raises TeacherError.

    The atomic energies must sum to the energy that the model itself predicts, the negative gradient must be its forces,
    and agree with finite differences of energies.
    """
    name, bounds = teacher.identity.name, BOUNDS[teacher.identity.dtype]
    frames = sample_structures(teacher.identity.elements)
    batch = teacher.batch(frames)
    with teacher.architecture.differentiable(teacher.dtype):
        energies, forces = (output.detach().double() for output in predict(batch))
    atomic = teacher.atomic_energies(batch)
    (gradient,) = torch.autograd.grad(atomic.sum(), batch.pos)
    gradient = gradient.double()
    totals = torch.zeros_like(energies).index_add(0, batch.batch, atomic.detach().double())
    largest = float(gradient.abs().max())
    moves = [displacements(frame, bounds.step)[:1] for frame in frames]
    moved = [copy for frame, move in zip(frames, moves, strict=True) for copy in displaced(frame, move)]
    energies_around = [float(teacher.atomic_energies(teacher.batch([frame])).detach().sum()) for frame in moved]
    differences = np.array(energies_around[::2]) - energies_around[1::2]
    gradients = np.split(gradient.cpu().numpy(), np.cumsum([len(frame) for frame in frames])[:-1])
    expected = np.array([2 * (part * move[0]).sum() for part, move in zip(gradients, moves, strict=True)])
    errors = {
        "its atomic energies do not sum to its energy": (
            float((totals - energies).abs().max()) / max(map(len, frames)),
            bounds.energy,
        ),
        "its forces are not the derivatives of its energy": (
            float((gradient + forces).abs().max()) / largest,
            bounds.symmetry,
        ),
        "its forces are not finite differences of its energies": (
            float(np.abs(differences - expected).max()) / (2 * bounds.step * largest),
            bounds.differences,
        ),
    }
    for problem, (error, bound) in errors.items():
        if not error <= bound:
            raise TeacherError(
                f"{name} fails its check: {problem} (off by {error:.1e}, bound {bound:.0e})",
                "choose another model, or another version of fairchem-core",
            )


def sample_structures(elements: tuple[int, ...]) -> list[Frame]:
    """A bent molecule of three atoms and a crystal of two, of the given elements, without bonds along an axis."""
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

"""A student as a model of metatomic, which LAMMPS, i-PI, ASE and others load: TorchScript, traced from the student."""

import sys
import warnings
from pathlib import Path
from typing import Dict, List, Optional

import torch
from torch import Tensor, nn

from jointkd.deploy.model import Model
from jointkd.deploy.pair_form import Evaluated, differentiated
from jointkd.deploy.parity import compare, elements_of, structures
from jointkd.deploy.tracing import TraceableForm
from jointkd.errors import ConfigError, MissingExtra
from jointkd.students import kernels
from jointkd.students.gemnet import GemNet
from jointkd.students.painn import PaiNN

try:
    from metatensor.torch import Labels, TensorBlock, TensorMap
    from metatomic.torch import (
        AtomisticModel,
        ModelCapabilities,
        ModelMetadata,
        ModelOutput,
        NeighborListOptions,
        System,
        load_atomistic_model,
    )
except ImportError as error:
    raise MissingExtra("metatomic-torch is not installed", "pip install 'jointkd[metatomic]'") from error
except RuntimeError as error:
    if "torch_geometric" not in sys.modules:  # which replaces a function of torch that metatomic compiles
        raise
    raise ConfigError(
        "metatomic cannot be imported after torch_geometric",
        "export in a process of its own, or import metatomic first",
    ) from error

ENERGY = "energy"


class AtomicEnergies(nn.Module):
    """Vectors of pairs [P, 3] Å, sources, targets [P] and atomic numbers [N] → atomic energies [N] eV; to be traced."""

    def __init__(self, form: TraceableForm) -> None:
        super().__init__()
        self.student, self.form = form.student, form

    def forward(self, vectors: Tensor, source: Tensor, target: Tensor, atomic_numbers: Tensor) -> Tensor:
        return self.form.predict(vectors, source, target, atomic_numbers).atomic_energies


class MetatomicStudent(nn.Module):
    """What metatomic calls: energies of systems or of atoms (eV) in float64, of which engines take the gradient."""

    references: Tensor  # [119] eV by atomic number

    def __init__(self, energies: torch.jit.ScriptModule, references: Tensor, cutoff: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.energies = energies
        self.register_buffer("references", references)
        self.dtype = dtype
        self.neighbors = NeighborListOptions(cutoff=cutoff, full_list=False, strict=True)

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        """Pairs within the cutoff, each once."""
        return [self.neighbors]

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels],
    ) -> Dict[str, TensorMap]:
        """The energy, of systems or of atoms as the output asks for."""
        vectors: List[Tensor] = []
        sources: List[Tensor] = []
        targets: List[Tensor] = []
        numbers: List[Tensor] = []
        labels: List[Tensor] = []
        first = 0
        for index, system in enumerate(systems):
            block = system.get_neighbor_list(self.neighbors)
            pairs = block.samples.values.to(torch.int64)
            vectors.append(block.values[:, :, 0])
            targets.append(pairs[:, 0] + first)
            sources.append(pairs[:, 1] + first)
            numbers.append(system.types.to(torch.int64))
            atoms = torch.arange(len(system), dtype=torch.int32, device=system.types.device)
            labels.append(torch.stack([torch.full_like(atoms, index), atoms], dim=1))
            first += len(system)
        kinds, samples = torch.cat(numbers), torch.cat(labels)
        close = torch.cat(vectors).to(self.dtype)
        energies = self.energies(close, torch.cat(sources), torch.cat(targets), kinds)
        energies = energies.to(torch.float64) + self.references.index_select(0, kinds)
        if selected_atoms is not None:
            wanted = torch.isin(self.numbered(samples), self.numbered(selected_atoms.values.to(samples.device)))
            samples, energies = samples[wanted], energies[wanted]
        result: Dict[str, TensorMap] = {}
        for name, output in outputs.items():
            result[name] = self.summed(energies, samples, len(systems), output.sample_kind == "atom")
        return result

    def numbered(self, samples: Tensor) -> Tensor:
        """One number [N] for each pair of system and atom [N, 2]."""
        return samples[:, 0].to(torch.int64) * (1 << 32) + samples[:, 1].to(torch.int64)

    def summed(self, energies: Tensor, samples: Tensor, systems: int, of_atoms: bool) -> TensorMap:
        """Energies [N] of the atoms of `samples` [N, 2], or their sums over systems, with metatensor's labels."""
        zero = torch.zeros(1, 1, dtype=torch.int32, device=samples.device)
        properties = Labels(["energy"], zero)
        if of_atoms:
            block = TensorBlock(energies[:, None], Labels(["system", "atom"], samples), [], properties)
        else:
            totals = torch.zeros(systems, dtype=energies.dtype, device=energies.device)
            totals = totals.index_add(0, samples[:, 0].to(torch.int64), energies)
            number = torch.arange(systems, dtype=torch.int32, device=samples.device)
            block = TensorBlock(totals[:, None], Labels(["system"], number[:, None]), [], properties)
        return TensorMap(Labels(["_"], zero), [block])


def write_metatomic(model: Model, file: Path, name: str) -> None:
    """Write a model of metatomic into `file`, and compare it with the student. Raises ConfigError.

    Students with a force head are refused, because engines take forces as the gradient of the energy, and those whose
    neighbours are capped, because neighbours are the engine's.
    """
    student = model.student
    assert isinstance(student, PaiNN | GemNet)
    if not student.conservative:
        raise ConfigError("to=metatomic needs forces that are the energy's gradient", "use the student's file in ASE")
    if student.max_neighbors is not None:
        raise ConfigError(
            f"to=metatomic cannot cap neighbours, and the student has max_neighbors={student.max_neighbors}",
            "use the student's file in ASE",
        )
    elements = elements_of(model)
    references = torch.zeros(119, dtype=torch.float64, device=model.device)
    for z, energy in model.saved.reference_energies.items():
        references[z] = energy
    module = MetatomicStudent(traced(model, student), references, model.cutoff, model.dtype)
    capabilities = ModelCapabilities(
        outputs={ENERGY: ModelOutput(unit="eV", sample_kind="atom")},
        atomic_types=elements,
        interaction_range=student.hops * model.cutoff,
        length_unit="angstrom",
        supported_devices=[torch.device(model.device).type],
        dtype="float64",
    )
    exported = AtomisticModel(module.eval(), ModelMetadata(name=name), capabilities)
    exported.save(file)
    check_parity(model, file)


def traced(model: Model, student: PaiNN | GemNet) -> torch.jit.ScriptModule:
    """The student's atomic energies as TorchScript for all numbers of atoms and pairs."""
    *_, (_, example) = structures(elements_of(model), model.cutoff, model.device, model.dtype)
    with kernels.disabled(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sizes are taken for constants, which the comparison would show
        return torch.jit.trace(AtomicEnergies(TraceableForm(student)), example, check_trace=False)


def check_parity(model: Model, file: Path) -> None:
    """Compare the model in a file with the student in float64. Raises ConfigError where they differ."""
    energies = load_atomistic_model(file).module.energies

    def form(vectors: Tensor, source: Tensor, target: Tensor, atomic_numbers: Tensor) -> Evaluated:
        vectors = vectors.detach().requires_grad_()
        return differentiated(energies(vectors, source, target, atomic_numbers), vectors, source, target)

    compare(model, form)

"""A student as a model of torch-sim, which moves many systems at once."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import torch
from ase.data import chemical_symbols
from torch import Tensor

from jointkd.deploy.model import check_atoms, load_model
from jointkd.deploy.pair_form import pair_forces, pair_gradient, structure_of
from jointkd.errors import ConfigError, MissingExtra
from jointkd.structures.batch import Prediction
from jointkd.students.energy_zero import EnergyZero
from jointkd.trust import Consent

try:
    from torch_sim.models.interface import ModelInterface
    from torch_sim.neighbors import torchsim_nl
    from torch_sim.state import SimState
except ImportError as error:
    raise MissingExtra(
        "torch-sim is not installed", "pip install 'jointkd[torchsim]', with Python 3.12 or later"
    ) from error


class TorchSimModel(ModelInterface):
    """A student in torch-sim: total energies (eV), forces (eV/Å), `energies` of atoms (eV) and, for conservative
    students, stress (eV/Å³), which is NaN for a system without a volume. Where the student's file has it,
    `force_uncertainty` [N] says how uncertain the force on each atom is (eV/Å).

    States are in float64 whatever the precision of the student: float32 holds too few digits of total energies, and
    vectors between atoms are differences in float64, cast to the student's precision.

    student: the folder of a finished run, or a student's file; device: cuda if available, else cpu; dtype: float32
    (default) or float64; trust: import paths of classes of your own that the file may name. Raises ConfigError for a
    package, for a student with max_neighbors and for a device that is not here, and DataError as `load_model` does.
    """

    def __init__(
        self, student: str | Path, device: str | None = None, dtype: str | None = None, trust: Consent = None
    ) -> None:
        super().__init__()
        model = load_model(Path(student), device, dtype, trust)
        if model.student is None:
            raise ConfigError(f"{student} is a package, which does not tell systems apart", "give the student's file")
        if model.max_neighbors is not None:
            raise ConfigError(
                f"{student} has max_neighbors={model.max_neighbors}, which neighbour lists of torch-sim do not know",
                "use it in ASE, or train a student with student.max_neighbors=null",
            )
        self.student, self.cutoff, self.precision = model.student, model.cutoff, model.dtype
        self.uncertainty = model.uncertainty
        references = model.saved.reference_energies
        self.trained, self.heaviest = references, model.elements
        self.references = reference_table(references, model.elements).to(model.device)
        self.zero = EnergyZero(model.saved.undetermined)
        self._device, self._dtype = torch.device(model.device), torch.float64
        self._compute_forces, self._compute_stress = True, model.conservative
        self._memory_scales_with = "n_edges"
        self._checked: Tensor | None = None  # atomic numbers; those of dynamics stay the same

    @property
    def compute_stress(self) -> bool:
        """Whether results hold the stress."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, wanted: bool) -> None:
        if wanted and not self.student.conservative:
            raise NotImplementedError("a student with a force head has no stress")  # the class that torch-sim expects
        self._compute_stress = wanted

    def forward(self, state: SimState, **kwargs: object) -> dict[str, Tensor]:
        """energy [S], forces [N, 3], stress [S, 3, 3], energies [N] and, where it is known, force_uncertainty [N] of a
        state of S systems and N atoms.

        Raises DataError for elements on which the student was not trained, and for positions that are not finite.
        """
        self._check(state)
        numbers, system, cell = state.atomic_numbers, state.system_idx, state.row_vector_cell.detach().double()
        pairs = pairs_of(state.positions.detach().double(), cell, state.pbc, self.cutoff, system)
        with torch.enable_grad():
            vectors = pairs.vectors.to(self.precision).requires_grad_(self.student.conservative)
            predicted = self._predict(vectors, pairs, numbers, system, len(cell))
            energies = predicted.atomic_energies
            gradient = pair_gradient(energies, vectors) if self.student.conservative else None
        energies = energies.detach().double() + self.references[numbers]
        results = {"energy": energies.new_zeros(len(cell)).index_add(0, system, energies), "energies": energies}
        if self.uncertainty is not None and predicted.features is not None:
            results["force_uncertainty"] = self.uncertainty(predicted.features, numbers)
        if gradient is None:
            results["forces"] = cast(Tensor, predicted.forces).detach()
        else:
            results["forces"] = pair_forces(gradient, pairs.source, pairs.target, len(numbers))
            if self.compute_stress:
                results["stress"] = stress(vectors.detach(), gradient, pairs.system, cell)
        return {name: value.to(state.positions.dtype) for name, value in results.items()}

    def _predict(self, vectors: Tensor, pairs: "Pairs", numbers: Tensor, system: Tensor, systems: int) -> Prediction:
        """What the student predicts for all systems in one batch."""
        ends = torch.bincount(system, minlength=systems).cumsum(0)
        structure = replace(
            structure_of(vectors, pairs.source, pairs.target, numbers),
            batch=system,
            ptr=torch.cat([ends.new_zeros(1), ends]),
        )
        return self.student(structure.positions, structure)

    def _check(self, state: SimState) -> None:
        """Raise DataError for what the student must not be asked, and warn where totals are estimates."""
        numbers = state.atomic_numbers
        if numbers is self._checked and torch.isfinite(state.positions).all():
            return
        positions = state.positions.detach().cpu().numpy()
        check_atoms(numbers.cpu().numpy(), positions, self.trained, self.heaviest)
        for number in range(state.n_systems):
            self.zero.check(numbers[state.system_idx == number].cpu().numpy())
        self._checked = numbers


class Pairs(NamedTuple):
    """All pairs within a cutoff, each once, of all systems."""

    source: Tensor  # [P] int64
    target: Tensor  # [P] int64
    system: Tensor  # [P] int64
    vectors: Tensor  # [P, 3] Å, float64, from the target to the source


def pairs_of(positions: Tensor, cell: Tensor, pbc: Tensor, cutoff: float, system: Tensor) -> Pairs:
    """The pairs of a state, from torch-sim's list of edges in both directions.

    positions [N, 3] Å and cell [S, 3, 3] Å in float64; pbc [3] or [S, 3]; system [N].
    """
    distance = torch.tensor(cutoff, dtype=positions.dtype, device=positions.device)
    (target, source), of_edge, images = torchsim_nl(positions, cell, pbc, distance, system)
    x, y, z = images.T
    forward = (z > 0) | ((z == 0) & ((y > 0) | ((y == 0) & (x > 0))))
    once = ((target < source) | ((target == source) & forward)).nonzero()[:, 0]
    source, target, of_pair = source[once], target[once], of_edge[once]
    shifts = torch.einsum("pa,pab->pb", images[once].double(), cell[of_pair])
    return Pairs(source, target, of_pair, positions[source] + shifts - positions[target])


def stress(vectors: Tensor, gradient: Tensor, of_pair: Tensor, cell: Tensor) -> Tensor:
    """[S, 3, 3] eV/Å³, NaN where there is no volume: ∂E/∂ε by a symmetric strain, over the volume.

    vectors [P, 3] Å of pairs; gradient [P, 3] eV/Å of the energy by them; of_pair [P] their systems; cell [S, 3, 3] Å.
    """
    products = (vectors[:, :, None] * gradient[:, None, :]).double()
    virial = products.new_zeros(cell.shape).index_add(0, of_pair, products)
    volume = torch.linalg.det(cell).abs()[:, None, None]
    return torch.where(volume > 0, (virial + virial.mT) / (2 * volume), torch.nan)


def reference_table(energies: Mapping[int, float], heaviest: int) -> Tensor:
    """[119] eV by atomic number, NaN for elements on which the student was not trained."""
    table = torch.full((len(chemical_symbols),), torch.nan, dtype=torch.float64)
    for z in energies or range(1, heaviest + 1):
        table[z] = energies.get(z, 0.0)  # imported students may have none
    return table

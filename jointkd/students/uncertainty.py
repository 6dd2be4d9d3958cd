"""How uncertain the force on an atom is, by how far the atom is from those that the student was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

PREFIX = "force_uncertainty."  # of its arrays in a student's file
RIDGE = 1e-6  # of the mean variance, so that features that hardly vary have an inverse
NUMBERS = 119  # atomic numbers of a table, from 0


@dataclass(frozen=True)
class ForceUncertainty:
    """The distance of an atom's features from those of its element in training, times an error of forces per distance.

    Features are what the student's last linear layer reads the energy from; the distance is Mahalanobis's. It costs one
    small matrix product per atom. It ranks atoms by their errors; the errors of new surroundings are larger than it.
    """

    elements: np.ndarray  # [Z] int64, atomic numbers
    mean: np.ndarray  # [Z, F]
    precision: np.ndarray  # [Z, F, F], the inverses of covariances
    scale: float  # eV/Å, of a distance of one

    def __call__(self, features: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """features [N, F], atomic numbers [N] → [N] eV/Å; infinite for elements that were not in training."""
        return self.scale * self.distances(features, numbers)

    def distances(self, features: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """As `__call__`, the distances alone."""
        found = np.full(len(numbers), np.inf)
        for element, mean, precision in zip(self.elements, self.mean, self.precision, strict=True):
            chosen = numbers == element
            apart = features[chosen].astype(np.float64) - mean
            found[chosen] = np.sqrt(np.einsum("ij,jk,ik->i", apart, precision, apart))
        return found

    @classmethod
    def of(cls, features: np.ndarray, numbers: np.ndarray) -> "ForceUncertainty":
        """Of the features [N, F] and atomic numbers [N] of training, with a scale of one.

        An element with few atoms cannot have a covariance of its own: to each that of all elements is added, as if F of
        the atoms had it.
        """
        features, elements = features.astype(np.float64), np.unique(numbers)
        width = features.shape[1]
        groups = [features[numbers == element] for element in elements]
        means = np.stack([group.mean(0) for group in groups])
        scatters = np.stack([(group - mean).T @ (group - mean) for group, mean in zip(groups, means, strict=True)])
        common = scatters.sum(0) / len(features)
        common += (RIDGE * np.trace(common) / width + np.finfo(float).tiny) * np.eye(width)
        counts = np.array([len(group) for group in groups])[:, None, None]
        precision = np.linalg.inv((scatters + width * common) / (counts + width))
        return cls(elements.astype(np.int64), means, precision, 1.0)

    def on(self, device: str | torch.device, dtype: torch.dtype) -> "TraceableUncertainty":
        """The same in torch, for features of this precision."""
        index, known = np.zeros(NUMBERS, dtype=np.int64), np.zeros(NUMBERS, dtype=bool)
        index[self.elements], known[self.elements] = np.arange(len(self.elements)), True
        values, axes = np.linalg.eigh((self.precision + self.precision.swapaxes(1, 2)) / 2)
        roots = self.scale * axes * np.sqrt(values.clip(min=0))[:, None]
        floats = (torch.from_numpy(array).to(device, dtype) for array in (self.mean, roots))
        return TraceableUncertainty(*floats, *(torch.from_numpy(array).to(device) for array in (index, known)))

    def tensors(self) -> dict[str, Tensor]:
        """Its arrays by their names in a student's file."""
        arrays = {"elements": self.elements, "mean": self.mean, "precision": self.precision}
        named = {name: torch.from_numpy(array) for name, array in arrays.items()}
        named["scale"] = torch.tensor(self.scale, dtype=torch.float64)
        return {f"{PREFIX}{name}": tensor for name, tensor in named.items()}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> "ForceUncertainty | None":
        """From the tensors of a student's file; None where it has none. Raises KeyError, ValueError where some lack."""
        own = {name.removeprefix(PREFIX): value for name, value in tensors.items() if name.startswith(PREFIX)}
        if not own:
            return None
        elements, mean, precision = (own[name].numpy() for name in ("elements", "mean", "precision"))
        if mean.shape[:1] != elements.shape or precision.shape != (*mean.shape, mean.shape[1]):
            raise ValueError(f"{PREFIX}mean and {PREFIX}precision do not fit each other")
        if not np.isfinite(precision).all():
            raise ValueError(f"{PREFIX}precision is not finite")
        return cls(elements, mean, precision, float(own["scale"]))


@dataclass(frozen=True)
class TraceableUncertainty:
    """`ForceUncertainty` in torch operations whose shapes and course do not depend on the atoms; see `on`.

    It computes lengths of vectors, by a root of the precision, not roots of a quadratic form: the error of the latter
    grows with the square of what the form magnifies, and float32 would not do. All atoms are compared with all
    elements, of which each then takes its own: the matrices of all atoms would need more memory and time.
    """

    mean: Tensor  # [Z, F]
    root: Tensor  # [Z, F, F] eV/Å; its product with its transpose is the precision times the square of the scale
    index: Tensor  # [119] int64, of elements in `mean` by atomic number; 0 for those that were not in training
    known: Tensor  # [119] bool, by atomic number: whether it was in training

    def __call__(self, features: Tensor, atomic_numbers: Tensor) -> Tensor:
        """features [N, F], atomic numbers [N] → [N] eV/Å; infinite for elements that were not in training."""
        from_all = torch.linalg.vector_norm((features.detach() - self.mean[:, None]) @ self.root, dim=2)  # [Z, N]
        own = from_all.gather(0, self.index.index_select(0, atomic_numbers)[None])[0]
        return own.where(self.known.index_select(0, atomic_numbers), torch.inf)

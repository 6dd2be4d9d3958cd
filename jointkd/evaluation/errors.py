"""Errors of predictions for labelled structures: added one structure at a time, then averaged over any of them."""

from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols
from ase.symbols import Symbols

from jointkd.evaluation.against_teacher import METRICS as OF_TEACHER
from jointkd.evaluation.against_teacher import NO_TEACHER, TeacherSums, teacher_ratios
from jointkd.evaluation.hull import METRICS as OF_HULL
from jointkd.evaluation.hull import HullErrors, Ratios
from jointkd.evaluation.metrics import force_error
from jointkd.evaluation.predictions import Predicted
from jointkd.structures.frame import Frame

REPLICATES = 1000  # of the bootstrap
LEVELS = (2.5, 97.5)  # %, the ends of its interval
SMALLEST_FORCE = 1e-3  # eV/Å; the direction of a smaller reference force is noise
OF_FORCES = ("force_mae_meV_per_A", "force_rmse_meV_per_A", "force_cosine")
HEADLINE = (
    "energy_mae_meV_per_atom",
    "energy_rmse_meV_per_atom",
    "energy_mae_meV",
    "energy_rmse_meV",
    "relative_energy_mae_meV_per_atom",
    "relative_energy_rmse_meV_per_atom",
    "relative_energy_mae_meV",
    "relative_energy_rmse_meV",
    "stress_mae_meV_per_A3",
    "stress_rmse_meV_per_A3",
    *OF_FORCES,
    *OF_TEACHER,
    *OF_HULL,
)
ELEMENTS = len(chemical_symbols)
QUARTERS = 4
NEW_ELEMENT = "elements not in it"  # of the training
UNNAMED = "(none)"  # structures without a name, where others have one

Metrics = dict[str, float]


class ForceSums(NamedTuple):
    """Sums over the atoms of a structure, or over those of an element; arrays where there are several."""

    absolute: np.ndarray  # meV/Å, of force components
    square: np.ndarray  # (meV/Å)²
    components: np.ndarray
    cosine: np.ndarray  # of the angle between the predicted and the reference force
    vectors: np.ndarray  # whose cosine counts


class Errors:
    """The errors of structures, of each of which about 120 bytes are kept.

    hull: eV/atom, the limit of `HullErrors`; None: distances to the convex hull are not compared.
    """

    def __init__(self, hull: float | None = None) -> None:
        self._hull = None if hull is None else HullErrors(hull)
        self._rows = array("d")  # atoms, errors of the energy (meV) and of the stress (meV/Å³: mean absolute, mean
        # square), which are not numbers without a label, then force sums and sums of errors against a teacher
        self._by_element = np.zeros((ELEMENTS, len(ForceSums._fields)))
        self._ids: dict[str, dict[str, int]] = {kind: {} for kind in ("composition", "config_type", "group")}
        self._of: dict[str, array[int]] = {kind: array("q") for kind in self._ids}
        self._distances = array("d")  # from the training, where these are asked for

    def __len__(self) -> int:
        return len(self._of["composition"])

    def add(self, predicted: Predicted, against_teacher: TeacherSums = NO_TEACHER) -> None:
        """Add the errors of a structure, of what it has labels of, and those against a teacher."""
        frame = predicted.frame
        error = np.nan if frame.energy is None else 1e3 * (predicted.energy - frame.energy)  # meV
        sums = np.zeros(len(ForceSums._fields))
        if frame.forces is not None:
            by_atom = np.stack(force_sums(predicted.forces, frame.forces), axis=1)
            np.add.at(self._by_element, frame.numbers, by_atom)
            sums = by_atom.sum(0)
        self._rows.extend([len(frame), error, *stress_errors(predicted), *sums, *against_teacher])
        if predicted.training_distance is not None:
            self._distances.append(predicted.training_distance)
        names = composition(frame), str(frame.info.get("config_type", "")), frame.group
        for kind, name in zip(self._of, names, strict=True):
            self._of[kind].append(self._ids[kind].setdefault(name, len(self._ids[kind])))
        if self._hull is not None:
            self._hull.add(frame, names[0], predicted.energy)

    def metrics(self) -> Metrics:
        """The metrics over all structures, those of `HEADLINE` for which there are labels, or a teacher's."""
        return averages(*self._sums())

    def intervals(self, replicates: Sequence[Metrics]) -> dict[str, tuple[float, float]]:
        """The 95 % intervals of the metrics by a bootstrap over structures, where two or more have the labels.

        The means over compositions are not computed anew. replicates: see `replicates`.
        """
        _, denominators = self._sums()
        return {
            name: tuple(np.percentile([each[name] for each in replicates if name in each], LEVELS).tolist())
            for name, structures in zip(HEADLINE, (denominators > 0).sum(0), strict=True)
            if structures > 1
        }

    def replicates(self, seed: int) -> list[Metrics]:
        """The metrics of bootstrap samples: the same ones for all with as many structures; none of a single one."""
        numerators, denominators = self._sums()
        rng, count = np.random.default_rng(seed), len(self)
        replicates = []
        for _ in range(REPLICATES if count > 1 else 0):  # weights: how often each structure is drawn
            weights = np.bincount(rng.integers(count, size=count), minlength=count).astype(float)
            replicates.append(averages(weights @ numerators, weights @ denominators))
        return replicates

    def counts(self) -> dict[str, int]:
        """The numbers of structures, atoms and labels."""
        atoms, errors, stress, _ = self._table()[:, :4].T
        forces = self._forces()
        return {
            "structures": len(self),
            "atoms": int(atoms.sum()),
            "structures_with_energy": int(np.isfinite(errors).sum()),
            "structures_with_forces": int((forces.components > 0).sum()),
            "structures_with_relative_energy": int(np.isfinite(self._relative()).sum()),
            "structures_with_stress": int(np.isfinite(stress).sum()),
            "structures_with_hull_distance": int(self._hull_ratios()[1][:, 0].sum()),
        }

    def by_element(self) -> dict[str, Metrics]:
        """The errors of the forces on the atoms of each element, with their number."""
        numerators, denominators = force_ratios(ForceSums(*self._by_element.T))
        return {
            chemical_symbols[z]: {
                "atoms": float(denominators[z, 0] / 3),
                **averages(numerators[z], denominators[z], OF_FORCES),
            }
            for z in np.flatnonzero(denominators[:, 0])
        }

    def by(self, kind: str) -> dict[str, Metrics]:
        """The metrics of the structures of each `config_type` or `group`, with their number; empty without any."""
        names = list(self._ids[kind])
        if not any(names):
            return {}
        of = np.asarray(self._of[kind])
        first = np.searchsorted(np.sort(of), range(1, len(names)))
        members_of = np.split(np.argsort(of, kind="stable"), first)
        return self._of_parts({name or UNNAMED: part for name, part in zip(names, members_of, strict=True)})

    def by_training_distance(self) -> dict[str, Metrics]:
        """The metrics of each quarter of the structures by their distance from the training; {} without distances."""
        distances = np.asarray(self._distances)
        order = np.argsort(distances, kind="stable")
        near = order[np.isfinite(distances[order])]
        parts: dict[str, np.ndarray] = {}
        for part in (each for each in np.array_split(near, QUARTERS) if len(each)):
            name = f"{distances[part[0]]:.2f} to {distances[part[-1]]:.2f}"
            parts[name] = np.concatenate([parts.get(name, part[:0]), part])  # quarters of copies have one name
        if len(near) < len(order):
            parts[NEW_ELEMENT] = order[len(near) :]
        return self._of_parts(parts)

    def _of_parts(self, parts: Mapping[str, np.ndarray]) -> dict[str, Metrics]:
        """The metrics of each part of the structures, given by their positions, with their number."""
        numerators, denominators = self._sums()
        return {
            name: {"structures": len(part), **averages(numerators[part], denominators[part])}
            for name, part in parts.items()
        }

    def _table(self) -> np.ndarray:
        columns = 4 + len(ForceSums._fields) + len(TeacherSums._fields)
        return np.asarray(self._rows, dtype=float).reshape(len(self), columns)

    def _forces(self) -> ForceSums:
        return ForceSums(*self._table()[:, 4 : -len(TeacherSums._fields)].T)

    def _against_teacher(self) -> TeacherSums:
        return TeacherSums(*self._table()[:, -len(TeacherSums._fields) :].T)

    def _hull_ratios(self) -> Ratios:
        none = np.zeros((len(self), len(OF_HULL)))
        return (none, none) if self._hull is None else self._hull.ratios()

    def _relative(self) -> np.ndarray:
        """[M] meV: errors of energies minus their mean over the composition, nan for the only one of its kind."""
        errors, of = self._table()[:, 1], np.asarray(self._of["composition"], dtype=int)
        known = np.isfinite(errors)
        number = np.bincount(of[known], minlength=of.max(initial=-1) + 1)
        mean = np.bincount(of[known], errors[known], len(number)) / np.maximum(number, 1)
        return np.where(number[of] > 1, errors - mean[of], np.nan)

    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        """[M, metrics] numerator and denominator of each structure; a metric is the ratio of their sums."""
        atoms, errors, absolute, square = self._table()[:, :4].T
        columns = []
        for error in (errors, self._relative()):
            known = np.isfinite(error).astype(float)
            for scaled in (np.nan_to_num(error) / atoms, np.nan_to_num(error)):
                columns += [(np.abs(scaled), known), (scaled**2, known)]
        columns += [(np.nan_to_num(mean), np.isfinite(mean).astype(float)) for mean in (absolute, square)]
        others = (np.stack(parts, axis=1) for parts in zip(*columns, strict=True))
        ratios = force_ratios(self._forces()), teacher_ratios(self._against_teacher()), self._hull_ratios()
        numerators, denominators = map(np.hstack, zip(others, *ratios, strict=True))
        return numerators, denominators


def averages(numerators: np.ndarray, denominators: np.ndarray, names: Sequence[str] = HEADLINE) -> Metrics:
    """The metrics that there are data for. numerators, denominators: [M, metrics], or their sums [metrics]."""
    above, below = (np.reshape(sums, (-1, len(names))).sum(0) for sums in (numerators, denominators))
    ratios = above / np.maximum(below, 1e-300)
    return {
        name: float(np.sqrt(ratio) if "rmse" in name else ratio)
        for name, ratio, count in zip(names, ratios, below, strict=True)
        if count > 0
    }


def stress_errors(predicted: Predicted) -> tuple[float, float]:
    """Mean absolute (meV/Å³) and mean square error over the components of the stress, not numbers without one."""
    if predicted.stress is None or predicted.frame.stress is None:
        return np.nan, np.nan
    error = 1e3 * (predicted.stress - predicted.frame.stress)
    return float(np.abs(error).mean()), float((error**2).mean())


def force_sums(predicted: np.ndarray, reference: np.ndarray) -> ForceSums:
    """The sums over the components of each atom's force [N]. predicted, reference: [N, 3] eV/Å."""
    error = force_error(predicted, reference)
    size = np.linalg.norm(reference, axis=1)
    sizes = np.maximum(size * np.linalg.norm(predicted, axis=1), 1e-300)
    counts = (size >= SMALLEST_FORCE).astype(float)
    return ForceSums(
        absolute=np.abs(error).sum(1),
        square=(error**2).sum(1),
        components=np.full(len(error), 3.0),
        cosine=counts * (predicted * reference).sum(1) / sizes,
        vectors=counts,
    )


def force_ratios(sums: ForceSums) -> tuple[np.ndarray, np.ndarray]:
    """[M, 3] numerators and denominators of `OF_FORCES`."""
    return (
        np.stack([sums.absolute, sums.square, sums.cosine], axis=1),
        np.stack([sums.components, sums.components, sums.vectors], axis=1),
    )


def composition(frame: Frame) -> str:
    """The formula of a structure, in Hill's order."""
    return str(Symbols(frame.numbers).get_chemical_formula())

"""Teachers without a model, and structures for them, for tests of labelling and of the label store."""

import os
import time
from pathlib import Path

import numpy as np

from jointkd.errors import MissingExtra, TeacherError
from jointkd.labelling.plan import LabelOptions, LabelPlace, LabelPlan
from jointkd.labels.directions import choose_rows, draw_probes, vectors
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.structures.frame import Frame
from jointkd.teachers.spec import TeacherSpec

IDENTITY = TeacherIdentity(
    name="numbers",
    checkpoint="0" * 64,
    dtype="float64",
    elements=(1, 6, 8),
    free_atom_energies={1: -13.6, 6: -1030.5, 8: -2043.9},
)
SETTINGS = {"rows": 4, "eval_rows": 2, "row_seed": 0}


def frames_of(count: int, seed: int = 0) -> list[Frame]:
    """`count` different structures of two to six atoms."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 7, count)
    return [Frame(rng.choice([1, 6, 8], n), rng.normal(size=(n, 3)), source=f"frame {i}") for i, n in enumerate(sizes)]


def rows_of(frames: list[Frame], rows: int | str = 4) -> dict[str, np.ndarray]:
    """The choice of rows of each structure, by key."""
    return {frame.key: choose_rows(frame.key, len(frame), rows, seed=0) for frame in frames}


def probes_of(frames: list[Frame], count: int) -> dict[str, np.ndarray]:
    """Probes of each structure, by key."""
    return {frame.key: draw_probes(frame.key, len(frame), count, seed=0) for frame in frames}


def along(hessian: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """[K, N, 3] eV/Å²: a full Hessian [3N, N, 3] along K directions."""
    atoms = hessian.shape[1]
    return np.tensordot(vectors(directions, atoms), hessian.reshape(atoms, 3, atoms, 3), 2)


class NumberTeacher:
    """Springs between all atoms. For each structure with rows it sleeps `seconds` and writes the key to `calls`.

    spoilt: the key of a structure whose forces are not finite.
    """

    identity = IDENTITY
    batch_atoms = 8

    def __init__(self, seconds: float = 0.0, calls: Path | None = None, spoilt: str = "") -> None:
        self.seconds, self.calls, self.spoilt = seconds, calls, spoilt

    def label(self, frames: list[Frame], directions: list[np.ndarray]) -> list[TeacherLabels]:
        return [self._one(frame, ids) for frame, ids in zip(frames, directions, strict=True)]

    def _one(self, frame: Frame, ids: np.ndarray) -> TeacherLabels:
        if len(ids):
            if self.calls is not None:
                with self.calls.open("a") as file:
                    file.write(frame.key + "\n")
            time.sleep(self.seconds)
        z, n = frame.numbers, len(frame)
        springs = np.sqrt(np.outer(z, z)) * (1 - np.eye(n))  # eV/Å²
        between = frame.positions[:, None] - frame.positions
        atomic = 0.25 * (springs * (between**2).sum(-1)).sum(1)
        forces = -(springs[..., None] * between).sum(1)
        laplacian = np.diag(springs.sum(1)) - springs
        hessian = np.kron(laplacian, np.eye(3)).reshape(3 * n, n, 3)
        if frame.key == self.spoilt:
            forces[0, 0] = np.nan
        total = atomic.sum() + sum(self.identity.free_atom_energies[int(number)] for number in z)
        return TeacherLabels(float(total), atomic, forces, along(hessian, ids), ids)


class CompanionTeacher(NumberTeacher):
    """Writes its calls to a file per process in `folder`, and labels only when `companions` processes have done so."""

    def __init__(self, folder: str, companions: int, dtype: str, name: str) -> None:
        super().__init__(seconds=0.02, calls=Path(folder) / str(os.getpid()))
        self.folder, self.companions = Path(folder), companions
        (self.folder / str(os.getpid())).touch()

    def label(self, frames: list[Frame], directions: list[np.ndarray]) -> list[TeacherLabels]:
        end = time.monotonic() + 300
        while len(list(self.folder.iterdir())) < self.companions and time.monotonic() < end:
            time.sleep(0.01)
        return super().label(frames, directions)


class PackagedTeacher(NumberTeacher):
    """A teacher of a package that is installed only where the environment variable TOY_PACKAGE is set.

    TOY_PACKAGE=works builds it and creates a file in `folder` named by the process; refuses and dies make it fail.
    """

    def __init__(self, folder: str, dtype: str, name: str, seconds: float = 0.0) -> None:
        package = os.environ.get("TOY_PACKAGE")
        if package is None:
            raise MissingExtra("toy teachers need toy, which is not installed", "install it", extra="fairchem")
        if package == "refuses":
            raise TeacherError("the toy is broken", "repair it")
        if package == "dies":
            os._exit(3)
        super().__init__(seconds=seconds)
        (Path(folder) / str(os.getpid())).touch()


def calls_in(file: Path) -> list[str]:
    """The keys of the structures that a teacher has labelled with rows, in order."""
    return file.read_text().split() if file.exists() else []


def plan_of(teacher: str, folder: Path, path: Path, count: int, shard_size: int = 4) -> LabelPlan:
    """A plan for labels of `count` structures in `path`, by a teacher of this module that writes files to `folder`."""
    spec = TeacherSpec(f"tests.teachers.{teacher}", {"name": "numbers", "dtype": "float64", "folder": str(folder)})
    options = LabelOptions(path=str(path), rows=4, eval_rows=2, shard_size=shard_size)
    place = LabelPlace(spec, options, "toy")
    return LabelPlan.of(place, {"train": frames_of(count), "val": [], "test": []}, adopted=False)

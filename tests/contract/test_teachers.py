"""What every teacher must satisfy: all that can be built here without a network."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from jointkd.contracts.teachers import TeacherContract
from jointkd.students.painn import PaiNN
from jointkd.students.student_file import SavedStudent, save_student
from jointkd.teachers.spec import TeacherSpec
from tests.configurations import composed
from tests.conftest import TINY_MACE

MACE = {"dtype": "float64", "device": "cpu", "batch_atoms": None}
ASE = "jointkd.teachers.ase.from_calculator"


def configured(*overrides: str) -> TeacherSpec:
    """The teacher of a configuration."""
    from jointkd.commands.build import teacher_spec

    spec = teacher_spec(composed(*overrides))
    assert spec is not None
    return spec


def mace(folder: Path, seed: int) -> Path:
    """A very small MACE with random weights."""
    pytest.importorskip("mace")
    from jointkd.runtime import default_dtype
    from jointkd.teachers import mace, mace_model

    mace.import_mace()
    with torch.random.fork_rng(devices=[]), default_dtype(torch.float32):
        torch.manual_seed(seed)
        mace_model.save(mace_model.build(TINY_MACE), TINY_MACE, folder)
    return folder


def demo(_: Path) -> TeacherSpec:
    pytest.importorskip("mace")
    return configured("teacher=demo", "teacher.device=cpu")


def tiny_mace_in_float32(folder: Path) -> TeacherSpec:
    return configured("teacher=mace", f"teacher.checkpoint={mace(folder, 0)}", "teacher.dtype=float32")


def ensemble(folder: Path) -> TeacherSpec:
    files = [str(mace(folder / str(seed), seed)) for seed in (0, 1)]
    return configured("teacher=ensemble", f"teacher.checkpoints=[{','.join(files)}]")


def student(folder: Path) -> TeacherSpec:
    """A conservative student with random weights."""
    torch.manual_seed(0)
    options = {"width": 8, "layers": 2, "radial": 6, "cutoff": 4.0, "conservative": True}
    module = PaiNN(**options).double()
    config = {"_target_": "jointkd.students.painn.PaiNN", **options}
    references = {1: -13.6, 6: -1030.5, 7: -1486.4, 8: -2043.9}
    save_student(folder / "student.safetensors", SavedStudent(config, module.state_dict(), references, {}))
    return configured("teacher=student", f"teacher.run={folder}", "teacher.device=cpu")


def lennard_jones(_: Path) -> TeacherSpec:
    options = {"sigma": 1.1, "epsilon": 0.3, "rc": 5.0, "smooth": True}
    return TeacherSpec(
        ASE, {"name": "lj", "dtype": "float64", "calculator": "ase.calculators.lj.LennardJones", "options": options}
    )


def emt(_: Path) -> TeacherSpec:
    return TeacherSpec(
        ASE, {"name": "emt", "dtype": "float64", "calculator": "ase.calculators.emt.EMT", "elements": ["Cu", "Al"]}
    )


def xtb(_: Path) -> TeacherSpec:
    pytest.importorskip("tblite")
    return configured("teacher=xtb")


TEACHERS: list[Callable[[Path], TeacherSpec]] = [demo, tiny_mace_in_float32, ensemble, student, lennard_jones, emt, xtb]


@pytest.fixture(scope="module", params=TEACHERS, ids=lambda teacher: teacher.__name__)
def spec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TeacherSpec:
    return request.param(tmp_path_factory.mktemp("teacher"))


class TestTeachers(TeacherContract):
    @pytest.fixture(autouse=True)
    def _teacher(self, spec: TeacherSpec) -> None:
        self.spec = spec
        if spec.name == "gfn2_xtb":
            self.crystals = ()  # tblite has the Γ point alone, so its energies depend on the choice of the cell

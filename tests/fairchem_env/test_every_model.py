"""The contract of teachers, for converted eSEN models and for models that fairchem-core loads itself."""

from collections.abc import Callable
from pathlib import Path

import pytest

from jointkd.contracts.properties import DoesNotApply
from jointkd.contracts.teachers import TeacherContract
from jointkd.labelling.checker import LabelChecker
from jointkd.labelling.loop import label
from jointkd.labels.directions import choose_rows
from jointkd.labels.store import LabelStore
from jointkd.teachers.spec import TeacherSpec
from tests.fairchem_env.checkpoints import ARCHITECTURES
from tests.fairchem_env.conftest import OPTIONS
from tests.labelled import frame_of, labels_of
from tests.structures import ETHANOL, SALT, WATER

pytest.importorskip("fairchem.core", reason="fairchem-core is not installed: make env-fairchem")


@pytest.fixture(scope="module", params=["converted eSEN", *ARCHITECTURES])
def spec(request: pytest.FixtureRequest, esen_file: Path, file_2x: Callable[[str], Path]) -> TeacherSpec:
    if request.param == "converted eSEN":
        options = {"name": "esen", "checkpoint": str(esen_file), **OPTIONS}
        return TeacherSpec("jointkd.teachers.esen.from_checkpoint", options)
    options = {"name": request.param, "checkpoint": str(file_2x(request.param)), "task": "omol", **OPTIONS}
    return TeacherSpec("jointkd.teachers.fairchem.from_name", options)


class TestEveryModel(TeacherContract):
    @pytest.fixture(autouse=True)
    def _teacher(self, spec: TeacherSpec) -> None:
        self.spec = spec

    def test_a_rotation_turns_forces_and_rows(self) -> None:
        if self.spec.name == "allscaip":
            raise DoesNotApply("AllScAIP learns rotations from its data, and is not equivariant by construction")
        super().test_a_rotation_turns_forces_and_rows()

    def test_a_reflection_turns_forces_and_rows(self) -> None:
        raise DoesNotApply("these models are equivariant under rotations at most: mirror images have other energies")

    def test_a_supercell_has_the_energy_and_forces_of_its_cells(self) -> None:
        if self.spec.name == "esen":
            raise DoesNotApply("this checkpoint has a mean energy per structure")
        super().test_a_supercell_has_the_energy_and_forces_of_its_cells()

    def test_energies_of_free_atoms_are_those_of_the_model(self) -> None:
        assert self.subject.teacher.identity.free_atom_energies[8] == pytest.approx(-0.8)

    def test_labels_far_from_the_origin_are_the_same(self) -> None:
        far = ETHANOL.copy()
        far.positions += [300.0, -200.0, 100.0]
        teacher = self.subject.teacher
        self.agree(labels_of(teacher, far, [1, 7]), labels_of(teacher, ETHANOL, [1, 7]), "far from the origin")

    def test_labels_pass_all_checks_and_are_stored(self, tmp_path: Path) -> None:
        teacher = self.subject.teacher
        frames = [frame_of(atoms) for atoms in (ETHANOL, SALT, WATER)]
        rows = {frame.key: choose_rows(frame.key, len(frame), 4, 0) for frame in frames}
        store = LabelStore.create(tmp_path, teacher.identity, {"rows": 4})
        label(frames, rows, teacher, store)
        assert len(store) == 3
        assert not store.failed
        assert LabelChecker(teacher).bounds.differences == 1e-3

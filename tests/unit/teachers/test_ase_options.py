"""Options of teachers from ASE calculators: errors, the identity of labels, and training runs."""

import json
import sys

import pytest

from jointkd.data.datamodule import DistillationData
from jointkd.data.options import ReaderData
from jointkd.data.splits import Split
from jointkd.errors import ConfigError, LabelMismatch, MissingExtra, TeacherError
from jointkd.labelling.loop import label
from jointkd.labels.store import LabelStore
from jointkd.teachers import ase
from jointkd.teachers.spec import TeacherSpec
from tests.calculators import options_of
from tests.files import frames, isolated, molecules, saved
from tests.labelled import labels_of
from tests.structures import ETHANOL
from tests.teachers import SETTINGS, rows_of

LJ = "ase.calculators.lj.LennardJones"
WATERS = {"sigma": 0.9, "epsilon": 0.5, "rc": 6.0, "smooth": True}
HERE = "tests.calculators"


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("nowhere_at_all.ase.Thing", MissingExtra, "needs the package nowhere_at_all, which is not installed"),
        ("ase.calculators.nothing.Thing", ConfigError, "does not exist"),
        ("ase.calculators.emt.Emt", ConfigError, "cannot be imported"),
        ("EMT", ConfigError, "cannot be imported"),
        ("numpy.zeros", ConfigError, "cannot be built with"),
        ("collections.OrderedDict", ConfigError, "must be an ASE calculator, but it is OrderedDict"),
        (f"{HERE}.WithoutForces", TeacherError, "does not implement forces"),
    ],
)
def test_other_objects_than_calculators_are_refused_in_one_line(path, error, message):
    with pytest.raises(error, match=message) as caught:
        ase.from_calculator(path, "c")
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_method_makes_a_calculator():
    teacher = ase.from_calculator(f"{HERE}.AtomicOnRequest.made", "c", {"return_site_energies": True})
    assert teacher.calculator.return_site_energies
    with pytest.raises(ConfigError, match="cannot be imported"):
        ase.from_calculator(f"{HERE}.AtomicOnRequest.unmade", "c")


def test_a_calculator_that_returns_no_atomic_energies_is_told_how_to():
    teacher = ase.from_calculator(f"{HERE}.AtomicOnRequest", "c")
    with pytest.raises(
        TeacherError, match=r"returns no energies of atoms.*return_site_energies: true.*atomic_energies=f"
    ):
        labels_of(teacher, ETHANOL)
    asked = ase.from_calculator(f"{HERE}.AtomicOnRequest", "c", {"return_site_energies": True})
    labels = labels_of(asked, ETHANOL)
    assert labels.atomic_energies.sum() == pytest.approx(labels.energy)


def test_a_missing_package_of_a_calculator_is_named(tmp_path, monkeypatch):
    (tmp_path / "mine_with_needs.py").write_text("import not_installed_here\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtra, match="needs the package not_installed_here"):
        ase.from_calculator("mine_with_needs.Thing", "c")
    sys.modules.pop("mine_with_needs", None)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dtype": "float32"}, ConfigError, "teacher.dtype=float32"),
        ({"displacement": 0.0}, ConfigError, "teacher.displacement=0.0"),
        ({"elements": ["H", "Xx"]}, ConfigError, "teacher.elements has Xx"),
        ({"free_atom_energies": {"h": 1.0}}, ConfigError, "teacher.free_atom_energies has h"),
        (
            {"free_atom_energies": {"H": 1.0}, "elements": ["H", "O"]},
            ConfigError,
            "free_atom_energies has no entry for O",
        ),
        (
            {"calculator": f"{HERE}.Springs", "atomic_energies": True},
            TeacherError,
            "does not implement energies of atoms",
        ),
    ],
)
def test_wrong_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        ase.from_calculator(**{"calculator": LJ, "name": "c", **options})


def test_an_element_outside_the_given_list_is_refused():
    teacher = ase.from_calculator(LJ, "lj", elements=["H", "O"])
    with pytest.raises(TeacherError, match=r"lj does not know C .*knows H O"):
        labels_of(teacher, ETHANOL)


def test_calculator_options_version_and_displacement_identify_the_labels():
    checkpoints = {
        ase.from_calculator(LJ, "c", options, displacement=step, atomic_energies=atomic).identity.checkpoint
        for options in (None, {"sigma": 2.0})
        for step in (1e-3, 2e-3)
        for atomic in (None, False)
    }
    assert len(checkpoints) == 8
    one = ase.from_calculator(LJ, "c", {"sigma": 2.0, "epsilon": 1.0}).identity
    assert one.checkpoint == ase.from_calculator(LJ, "c", {"epsilon": 1.0, "sigma": 2.0}).identity.checkpoint
    assert f"of ase {one.versions['ase']}" in one.checkpoint


def test_the_fingerprint_is_known_without_building_the_teacher():
    options = {**options_of("ase"), "calculator": LJ, "options": {"sigma": 2.0}}
    expected = TeacherSpec("jointkd.teachers.ase.from_calculator", options).fingerprint()
    assert expected == ase.from_calculator(**options).identity.fingerprint()


def test_a_teacher_without_free_atoms_can_provide_reference_energies(tmp_path):
    bare = frames(12)
    teacher = ase.from_calculator(LJ, "lj", WATERS)
    store = LabelStore.create(tmp_path / "labels", teacher.identity, SETTINGS)
    label(bare, rows_of(bare), teacher, store)
    data = DistillationData(ReaderData(name="d", read=lambda: (bare, {}), split=Split(seed=0), reference="teacher"))
    data.join(store, 1, 1)
    assert data.references is not None
    assert "least squares" in data.references.origin
    assert set(data.references.energies) == {1, 6, 8}


LJ_RUN = (
    "data=extxyz",
    "data.path=mine.xyz",
    "data.energy_key=REF_energy",
    "data.forces_key=REF_forces",
    "student.width=8",
    "student.layers=1",
    "student.radial=4",
    "student.cutoff=3",
    "trainer.max_epochs=1",
    "label.rows=2",
    "label.eval_rows=2",
    "teacher=ase",
)


def test_a_calculator_without_atomic_energies_serves_hessian_but_not_joint_training(command, tmp_path):

    saved(tmp_path / "mine.xyz", [*isolated(), *molecules(20)])
    chosen = (f"teacher.calculator={HERE}.Springs", "teacher.name=springs", "teacher.citation=Hooke 1678")
    refused = command("train", *LJ_RUN, *chosen, "method=joint")
    assert refused.status == 1
    assert refused.err.count("\n") == 1
    assert "method=joint needs atomic energies, and teacher springs gives none" in refused.err
    assert not list((tmp_path / "outputs").rglob("*.safetensors"))

    done = command("train", *LJ_RUN, *chosen, "method=hessian")
    assert done.status == 0, done.err
    (run,) = [file.parent for file in (tmp_path / "outputs").rglob("summary.json")]
    summary = json.loads((run / "summary.json").read_text())
    assert "hessian_row_mae_eV_per_A2" in summary["test"]
    assert "atomic_energy_mae_meV" not in summary["test"]
    assert summary["teacher_card"]["citation"] == "Hooke 1678"

    finished = command("train", *LJ_RUN, *chosen, "method=joint")
    assert "teacher springs gives none" in finished.err
    other = command("train", *LJ_RUN, *chosen, "method=hessian", "teacher.displacement=1e-4")
    assert (other.status, LabelMismatch.__name__ in other.err) == (1, True)


def test_options_of_a_calculator_can_be_given_on_the_command_line(command, tmp_path):

    saved(tmp_path / "mine.xyz", [*isolated(), *molecules(20)])
    chosen = (f"teacher.calculator={LJ}", "teacher.options={sigma:0.9,epsilon:0.1,rc:3.0,smooth:true}")
    done = command("train", *LJ_RUN, *chosen, "method=joint")
    assert done.status == 0, done.err
    assert "poor targets" in done.out + done.err
    (run,) = [file.parent for file in (tmp_path / "outputs").rglob("summary.json")]
    assert "sigma=0.9" in (run / "provenance.json").read_text()

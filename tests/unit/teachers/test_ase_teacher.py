"""ASE calculators as teachers: energies, forces, rows by finite differences, and errors."""

import logging
import sys
from typing import ClassVar

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from omegaconf import OmegaConf

from jointkd.data.datamodule import DistillationData
from jointkd.data.options import ReaderData
from jointkd.data.splits import Split
from jointkd.errors import ConfigError, LabelMismatch, MissingExtra, TeacherError
from jointkd.labelling.loop import label
from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.structures.frame import Frame
from jointkd.teachers import ase
from jointkd.teachers.spec import TeacherSpec
from tests.files import frames
from tests.teachers import SETTINGS, rows_of

LJ = "ase.calculators.lj.LennardJones"
WATERS = {"sigma": 0.9, "epsilon": 0.5, "rc": 6.0, "smooth": True}
COPPER = bulk("Cu", cubic=True)
COPPER.rattle(0.1, seed=1)
ETHANOL = molecule("CH3CH2OH")
ETHANOL.rattle(0.05, seed=1)


class Springs(Calculator):
    """A spring k |r - r'|² / 2 between every pair of atoms, with a known Hessian and without atomic energies."""

    implemented_properties: ClassVar = ["energy", "forces"]
    stiffness = 3.0
    bad = 0  # atomic number on which it fails

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if self.bad in self.atoms.numbers:
            raise RuntimeError(f"no convergence\nwith {self.bad}")
        apart = self.atoms.positions[:, None] - self.atoms.positions
        self.results = {"energy": self.stiffness * (apart**2).sum() / 4, "forces": -self.stiffness * apart.sum(1)}


class FailsOnOxygen(Springs):
    bad = 8


class NeverWorks(Springs):
    def calculate(self, *_args, **_kwargs):
        raise RuntimeError("no licence file")


class WithoutForces(Calculator):
    implemented_properties: ClassVar = ["energy"]


HERE = __name__


def frame_of(atoms: Atoms) -> Frame:
    return Frame(atoms.numbers.astype(np.int64), atoms.positions, cell=np.array(atoms.cell), pbc=atoms.pbc)


def labels_of(teacher: ase.AseTeacher, atoms: Atoms, rows=()) -> TeacherLabels:
    return teacher.label([frame_of(atoms)], [np.array(list(rows), dtype=int)])[0]


def calculated(atoms: Atoms, calculator: Calculator) -> Atoms:
    atoms = atoms.copy()
    atoms.calc = calculator
    return atoms


@pytest.mark.parametrize(
    ("path", "options", "atoms", "calculator"),
    [
        ("ase.calculators.emt.EMT", None, COPPER, EMT()),
        (LJ, WATERS, ETHANOL, LennardJones(**WATERS)),
        (LJ, {"sigma": 2.3, "rc": 6.0}, COPPER, LennardJones(sigma=2.3, rc=6.0)),
    ],
    ids=["EMT, crystal", "Lennard-Jones, molecule", "Lennard-Jones, crystal"],
)
def test_energies_and_forces_are_those_of_the_calculator(path, options, atoms, calculator):
    labels = labels_of(ase.from_calculator(path, "c", options), atoms)
    own = calculated(atoms, calculator)
    assert labels.energy == own.get_potential_energy()
    np.testing.assert_array_equal(labels.forces, own.get_forces())
    np.testing.assert_array_equal(labels.atomic_energies, own.get_potential_energies())
    assert labels.atomic_energies.sum() == pytest.approx(labels.energy, abs=1e-10)
    assert labels.forces.any()


def test_rows_of_springs_are_those_of_their_exact_hessian():
    labels = labels_of(ase.from_calculator(f"{HERE}.Springs", "springs"), ETHANOL, range(27))
    number = len(ETHANOL)
    exact = np.kron(Springs.stiffness * (number * np.eye(number) - 1), np.eye(3))
    np.testing.assert_allclose(labels.hessian_rows.reshape(27, 27), exact, rtol=0, atol=1e-10)


@pytest.mark.parametrize("atoms", [COPPER, Atoms("H", [[1.0, 2, 3]])], ids=["crystal", "lone atom"])
def test_rows_agree_with_finite_differences_of_energies(atoms):
    teacher = ase.from_calculator("ase.calculators.emt.EMT", "emt", displacement=1e-3)
    ids = np.array([2, 0, 1]) if len(atoms) == 1 else np.array([7, 0, 4])
    labels = labels_of(teacher, atoms, ids)

    def energy(*steps: tuple[int, float]) -> float:
        moved = calculated(atoms, EMT())
        for row, step in steps:
            moved.positions[row // 3, row % 3] += step
        return moved.get_potential_energy()

    h = 2e-3
    for k, row in enumerate(ids):
        for column in range(3 * len(atoms)):
            signs = [(a, b) for a in (1, -1) for b in (1, -1)]
            expected = sum(a * b * energy((row, a * h), (column, b * h)) for a, b in signs) / (4 * h * h)
            assert labels.hessian_rows[k].ravel()[column] == pytest.approx(expected, abs=2e-3)


def test_rows_of_a_potential_are_symmetric_and_sum_to_zero():
    rows = labels_of(ase.from_calculator("ase.calculators.emt.EMT", "emt"), COPPER, range(12)).hessian_rows
    hessian = rows.reshape(12, 12)
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=1e-4)
    np.testing.assert_allclose(rows.sum(1), 0, rtol=0, atol=1e-9)
    assert np.linalg.eigvalsh(hessian + hessian.T)[3] > 0.1  # positive curvature: the sign is right


def test_labels_do_not_depend_on_what_was_labelled_before():
    pytest.importorskip("tblite", reason="pip install 'jointkd[xtb]'")
    teacher = ase.from_calculator("tblite.ase.TBLite", "xtb", {"verbosity": 0})
    other = ETHANOL.copy()
    other.rattle(0.2, seed=4)
    first = labels_of(teacher, ETHANOL, [3])
    labels_of(teacher, other, [0])
    again = labels_of(teacher, ETHANOL, [3])
    # several threads sum in any order; a calculation that starts from earlier results differs by more
    assert first.energy == pytest.approx(again.energy, abs=1e-9)
    for name, error in (("atomic_energies", 1e-9), ("forces", 1e-9), ("hessian_rows", 1e-6)):
        np.testing.assert_allclose(getattr(first, name), getattr(again, name), rtol=0, atol=error)


def preset(name: str) -> dict:
    from jointkd.cli.config_tree import CONF

    base, own = (OmegaConf.load(CONF / "teacher" / f"{file}.yaml") for file in ("ase", name))
    merged = OmegaConf.to_container(OmegaConf.merge(base, own))
    return {key: value for key, value in merged.items() if key not in ("defaults", "_target_", "_convert_", "python")}


def test_the_xtb_teacher_gives_accurate_rows_and_no_atomic_energies():
    pytest.importorskip("tblite", reason="pip install 'jointkd[xtb]'")
    teacher = ase.from_calculator(**preset("xtb"))
    labels = labels_of(teacher, ETHANOL, range(27))
    hessian = labels.hessian_rows.reshape(27, 27)
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=2e-3)
    np.testing.assert_allclose(labels.hessian_rows.sum(1), 0, rtol=0, atol=1e-6)
    assert labels.atomic_energies.shape == (0,)
    assert not teacher.identity.atomic_energies
    assert teacher.identity.elements == tuple(range(1, 87))
    assert (teacher.identity.level_of_theory, teacher.identity.versions.keys()) == ("GFN2-xTB", {"ase", "tblite"})


def test_atomic_energies_of_xtb_are_relative_to_free_atoms_and_cause_one_warning(caplog):
    pytest.importorskip("tblite", reason="pip install 'jointkd[xtb]'")
    free = {"H": -10.7, "C": -48.8, "O": -102.6}
    teacher = ase.from_calculator("tblite.ase.TBLite", "xtb", {"verbosity": 0}, free_atom_energies=free)
    labels, _ = labels_of(teacher, ETHANOL), labels_of(teacher, ETHANOL)
    total = labels.atomic_energies.sum() + sum(free[symbol] for symbol in ETHANOL.symbols)
    assert total == pytest.approx(labels.energy, abs=1e-9)
    assert teacher.identity.elements == (1, 6, 8)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "poor targets" in warnings[0]


def test_atomic_energies_are_left_out_if_not_requested_or_not_implemented(caplog):
    for teacher in (
        ase.from_calculator(LJ, "lj", WATERS, atomic_energies=False),
        ase.from_calculator(f"{HERE}.Springs", "springs"),
    ):
        labels = labels_of(teacher, ETHANOL)
        assert not teacher.identity.atomic_energies
        assert labels.atomic_energies.shape == (0,)
        assert labels.finite()
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


def test_a_structure_on_which_the_calculator_fails_is_recorded_and_the_others_are_labelled(tmp_path, caplog):
    teacher = ase.from_calculator(f"{HERE}.FailsOnOxygen", "springs")
    some = frames(9)
    store = LabelStore.create(tmp_path / "labels", teacher.identity, SETTINGS)
    label(some, rows_of(some), teacher, store, shard_size=4)
    with_oxygen = {frame.key for frame in some if 8 in frame.numbers}
    assert set(store.failed) == with_oxygen
    assert store.keys() == {frame.key for frame in some} - with_oxygen
    assert "frame 0: springs fails (no convergence)" in caplog.messages


def test_a_calculator_that_never_succeeds_ends_the_run_without_failed_structures(tmp_path):
    teacher = ase.from_calculator(f"{HERE}.NeverWorks", "springs")
    store = LabelStore.create(tmp_path / "labels", teacher.identity, SETTINGS)
    with pytest.raises(TeacherError, match=r"cannot calculate anything \(no licence file\)"):
        label(frames(3), rows_of(frames(3)), teacher, store)
    assert not store.failed


def test_a_structure_with_coincident_atoms_fails_alone():
    pytest.importorskip("tblite", reason="pip install 'jointkd[xtb]'")
    spoilt = ETHANOL.copy()
    spoilt.positions[1] = spoilt.positions[0]
    teacher = ase.from_calculator("tblite.ase.TBLite", "xtb", {"verbosity": 0})
    assert not labels_of(teacher, spoilt, [0]).finite()
    assert labels_of(teacher, ETHANOL, [0]).finite()


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
    options = {**preset("ase"), "calculator": LJ, "options": {"sigma": 2.0}}
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


def test_identities_of_older_labels_have_atomic_energies():
    old = TeacherIdentity("t", "0", "float64", (1,), {1: 0.0}).to_json()
    del old["atomic_energies"]
    assert TeacherIdentity.from_json(old).atomic_energies


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
    import json

    from tests.files import isolated, molecules, saved

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
    from tests.files import isolated, molecules, saved

    saved(tmp_path / "mine.xyz", [*isolated(), *molecules(20)])
    chosen = (f"teacher.calculator={LJ}", "teacher.options={sigma:0.9,epsilon:0.1,rc:3.0,smooth:true}")
    done = command("train", *LJ_RUN, *chosen, "method=joint")
    assert done.status == 0, done.err
    assert "poor targets" in done.out + done.err
    (run,) = [file.parent for file in (tmp_path / "outputs").rglob("summary.json")]
    assert "sigma=0.9" in (run / "provenance.json").read_text()

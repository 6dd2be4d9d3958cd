"""New structures of a training split: whole, plausible, diverse, and marked with where they are from."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.data import covalent_radii
from ase.io import read
from filelock import FileLock

from jointkd.data.options import FileData
from jointkd.errors import ConfigError, DataError, TeacherError
from jointkd.sampling.force_fields import TimedCalculator, TimedTeacher
from jointkd.sampling.options import SamplingOptions
from jointkd.sampling.sample import sample
from jointkd.structures.frame import Frame
from tests.files import molecules, saved
from tests.unit.deploy.test_ase import PAINN, student_file
from tests.unit.sampling.toy import ElasticTeacher, distances, starts

SOME = starts(6)


def options(folder: Path, **changes) -> SamplingOptions:
    """Short trajectories at 300 K."""
    given = {"temperatures": (300.0,), "steps": 20, "interval": 5, "number": 6, "duplicate": 0.001}
    return SamplingOptions(output=str(folder / "new.xyz"), **{**given, **changes})


def sampled(folder: Path, some: list[Frame] = SOME, teacher=None, entries=None, max_force: float = 50.0, **changes):
    """Sample from frames; all structures in the file."""
    teacher = teacher or ElasticTeacher(some)
    return sample(options(folder, **changes), some, teacher, entries or {}, max_force).structures


def test_new_structures_say_where_they_are_from_and_have_no_labels(tmp_path):
    entries = {"molecule": "group", "division": "train"}
    some = [replace(frame, info={"charge": 0, "dft_energy": -3.0}) for frame in SOME]
    written = sampled(tmp_path, some, entries=entries, temperatures=(300.0, 500.0), number=12)
    parents = {frame.key: frame for frame in some}
    assert [atoms.info for atoms in read(tmp_path / "new.xyz", ":")] == [atoms.info for atoms in written]
    assert len(written) == 12
    assert {atoms.info["temperature"] for atoms in written} == {300.0, 500.0}
    assert {atoms.info["parent"] for atoms in written} == parents.keys()
    for atoms in written:
        parent = parents[atoms.info["parent"]]
        assert atoms.calc is None
        assert "dft_energy" not in atoms.info
        assert atoms.info["source"] == "dynamics with elastic"
        assert (atoms.info["molecule"], atoms.info["division"], atoms.info["charge"]) == (parent.group, "train", 0)
        assert (atoms.numbers == parent.numbers).all()
        assert 0.01 < np.abs(distances(atoms.positions) - distances(parent.positions)).max() < 1.0


def test_few_structures_are_of_all_temperatures_and_of_different_starts(tmp_path):
    written = sampled(tmp_path, number=4, temperatures=(300.0, 400.0))
    assert len(written) == 4
    assert {atoms.info["temperature"] for atoms in written} == {300.0, 400.0}
    assert len({atoms.info["parent"] for atoms in written}) == 4


def test_a_structure_made_from_a_new_one_has_the_same_parent(tmp_path):
    some = [replace(frame, info={"parent": "the first"}) for frame in SOME]
    assert {atoms.info["parent"] for atoms in sampled(tmp_path, some)} == {"the first"}


def test_rattled_structures_are_relaxed_by_the_forces(tmp_path):
    strained = {}
    for relax in (0, 8):
        folder = tmp_path / str(relax)
        folder.mkdir()
        written = sampled(folder, how="rattle", displacement=0.05, relax=relax)
        teacher = ElasticTeacher(SOME)
        frames = [Frame(atoms.numbers.astype(np.int64), atoms.positions) for atoms in written]
        labels = teacher.label(frames, [np.zeros(0, int)] * len(frames))
        strained[relax] = np.mean([label.atomic_energies.mean() for label in labels])
        assert all("temperature" not in atoms.info for atoms in written)
    assert 0 < strained[8] < 0.5 * strained[0]


def test_what_was_counted_before_an_interruption_counts_after_it(tmp_path, monkeypatch):
    hot = {"temperatures": (30000.0,), "steps": 60, "window": 1e3, "number": 9}
    for name in ("whole", "twice"):
        (tmp_path / name).mkdir()
    whole = sample(options(tmp_path / "whole", **hot), SOME, ElasticTeacher(SOME), {}, np.inf)
    for calls in (60, 40):
        with pytest.raises(KeyboardInterrupt):
            sampled(tmp_path / "twice", teacher=ElasticTeacher(SOME, calls), max_force=np.inf, **hot)
    with monkeypatch.context() as between:  # the record is written, and the file is not
        between.setattr("jointkd.sampling.sampled_file.write", None)
        with pytest.raises(TypeError):
            sampled(tmp_path / "twice", max_force=np.inf, **hot)
    twice = sample(options(tmp_path / "twice", **hot), SOME, ElasticTeacher(SOME), {}, np.inf)
    assert whole.early == twice.early == 7
    assert twice.seconds > 0
    again = sample(options(tmp_path / "twice", **hot), SOME, ElasticTeacher(SOME), {}, np.inf)
    assert again[1:] == twice[1:]


def test_an_interrupted_command_goes_on_and_ends_as_if_it_had_not_been(tmp_path):
    for name in ("whole", "twice"):
        (tmp_path / name).mkdir()
    sampled(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        sampled(tmp_path / "twice", teacher=ElasticTeacher(SOME, fails_after=60))
    before = read(tmp_path / "twice" / "new.xyz", ":")
    assert 0 < len(before) < 6
    sampled(tmp_path / "twice")
    assert (tmp_path / "twice" / "new.xyz").read_bytes() == (tmp_path / "whole" / "new.xyz").read_bytes()
    teacher = ElasticTeacher(SOME)
    sampled(tmp_path / "twice", teacher=teacher)
    assert teacher.calls == 0  # nothing remains to be done
    assert len(sampled(tmp_path / "twice", number=9)) == 9


def test_a_file_of_other_options_of_others_or_in_use_is_refused_and_stays_as_it_is(tmp_path):
    sampled(tmp_path, number=2)
    before = (tmp_path / "new.xyz").read_bytes()
    with pytest.raises(ConfigError, match=r"new.xyz was made with steps=20, temperatures=\[300.0\]; give these"):
        sampled(tmp_path, steps=10, temperatures=(400.0,))
    with pytest.raises(ConfigError, match=r"new.xyz was made with starts="):
        sampled(tmp_path, SOME[:3])
    with FileLock(tmp_path / ".new.xyz.lock"), pytest.raises(ConfigError, match="another process is at work"):
        sampled(tmp_path)
    (tmp_path / ".new.xyz.json").unlink()
    with pytest.raises(ConfigError, match=r"output=.*new.xyz exists; give the name of a new file"):
        sampled(tmp_path)
    assert (tmp_path / "new.xyz").read_bytes() == before


def test_the_teachers_time_is_limited(tmp_path, monkeypatch):
    clock = iter(np.arange(0.0, 1e6, 1.0))
    monkeypatch.setattr("jointkd.sampling.force_fields.time.perf_counter", lambda: next(clock))
    teacher = ElasticTeacher(SOME)
    sampled(tmp_path, teacher=teacher, seconds=30.0)
    assert teacher.calls <= 30 + 6  # the trajectory is cut at its next structure


def test_structures_beyond_the_energy_window_or_with_absurd_forces_are_rejected(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    relaxed = SOME[:3]  # where the teacher's energy is lowest
    assert sampled(tmp_path, relaxed, window=1e-4, number=3) == []
    assert "energies above window=0.0001 eV/atom (" in caplog.text
    assert "no further structures differ enough" in caplog.text
    (tmp_path / "forces").mkdir()
    assert sampled(tmp_path / "forces", max_force=0.01, number=3) == []
    assert "forces above data.max_force=0.01 eV/Å (" in caplog.text


def test_near_duplicates_are_rejected(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    assert sampled(tmp_path, temperatures=(1.0,), duplicate=0.3, number=3) == []
    assert "trajectories of duplicates (" in caplog.text


def test_a_trajectory_ends_where_atoms_collide_or_a_molecule_breaks_apart(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    written = sampled(tmp_path, temperatures=(30000.0,), steps=60, window=1e3, max_force=np.inf)
    assert "trajectories that ended early (" in caplog.text
    for atoms in written:
        apart = distances(atoms.positions) + 9 * np.eye(len(atoms))
        radii = covalent_radii[atoms.numbers]
        assert (apart > 0.6 * (radii[:, None] + radii)).all()
        assert (apart.min(1) < 2.5).all()


def test_a_student_moves_the_atoms_and_the_teacher_judges_them(tmp_path):
    student = student_file(tmp_path, PAINN)
    teacher = ElasticTeacher(SOME)
    written = sampled(tmp_path, teacher=teacher, mover=str(student), temperatures=(50.0,), window=100.0)
    assert written
    assert written[0].info["source"] == f"dynamics with student {student}"
    assert teacher.calls < 20  # not in every step
    moved = student.with_name("moved.safetensors")
    student.rename(moved)
    assert len(sampled(tmp_path, mover=str(moved), temperatures=(50.0,), window=100.0)) == len(written)


def test_structures_of_one_atom_are_counted_and_left_out(tmp_path, caplog):
    atom = Frame(np.array([8]), np.zeros((1, 3)))
    sampled(tmp_path, [*SOME, atom, replace(atom, numbers=np.array([1]))], number=1)
    assert f"2 of {len(SOME) + 2} training structures are left out: one atom cannot move" in caplog.text


def test_charges_that_a_student_does_not_take_are_said(tmp_path, caplog):
    charged = [replace(frame, info={"charge": 1}) for frame in SOME]
    teacher = ElasticTeacher(SOME)
    teacher.takes_charge = True
    sampled(tmp_path, charged, teacher, mover=str(student_file(tmp_path, PAINN)), number=1, window=100.0)
    assert "of the training split have a charge or a spin (the first: charge=1)" in caplog.text


def test_a_teacher_as_a_calculator_gives_its_labels():
    frame = SOME[1]
    teacher = ElasticTeacher(SOME[2:])
    (labels,) = teacher.label([frame], [np.zeros(0, int)])
    atoms = frame.to_ase()
    atoms.calc = TimedCalculator(TimedTeacher(teacher), frame.info)
    assert atoms.get_potential_energy() == labels.energy
    np.testing.assert_array_equal(atoms.get_forces(), labels.forces)


def test_what_cannot_be_sampled_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(DataError, match="no training structure has more than one atom"):
        sampled(tmp_path, [Frame(np.array([8]), np.zeros((1, 3)))])
    nitrogen = replace(SOME[0], numbers=np.array([7, 1, 1]))
    with pytest.raises(TeacherError, match="does not know N"):
        sampled(tmp_path, [nitrogen])
    with pytest.raises(TeacherError, match="takes no charge"):
        sampled(tmp_path, [replace(SOME[0], info={"charge": 1})])
    with pytest.raises(DataError, match="nothing does not exist"):
        sampled(tmp_path, mover=str(tmp_path / "nothing"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"how": "guess"}, "how=guess is not known"),
        ({"temperatures": ()}, r"temperatures=\[\] has none"),
        ({"temperatures": (300.0, -1.0)}, "temperatures=-1.0 must be a positive number in K"),
        ({"number": 0}, "number=0 must be a positive integer"),
        ({"contact": 1.5}, "contact=1.5 must be below 1"),
        ({"seconds": 0}, "seconds=0 must be a positive number in s"),
        ({"steps": 10, "interval": 20}, "interval=20 is longer than steps=10"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        options(tmp_path, **changes)
    with pytest.raises(ConfigError, match=r"output=new.traj must end with .xyz"):
        SamplingOptions(output="new.traj")


def test_new_structures_are_read_beside_labelled_ones(tmp_path):
    sampled(tmp_path, entries={"molecule": "group"})
    saved(tmp_path / "labelled.xyz", molecules(6))
    keys = {"energy_key": "REF_energy", "forces_key": "REF_forces", "group_key": "molecule"}
    both = list(FileData(name="both", path=str(tmp_path / "*.xyz"), missing="teacher", **keys).reader()()[0])
    assert [frame.energy is None for frame in both] == [False] * 6 + [True] * 6
    assert {frame.group for frame in both[6:]} <= {frame.group for frame in SOME}

"""The commands as functions: the page docs/python.md as it stands, and what functions refuse."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ase.io import read, write

from jointkd.api import as_node, evaluate, label, load, train
from jointkd.data.options import FileData, ReaderData
from jointkd.data.splits import Split
from jointkd.errors import ConfigError, DataError
from jointkd.students.painn import PaiNN
from jointkd.teachers.spec import TeacherSpec
from tests.files import molecules, saved

DOC = Path(__file__).parents[2] / "docs" / "python.md"
SMALL = {"student.width": 8, "student.layers": 1, "student.radial": 6, "student.cutoff": 4.0, "trainer.max_epochs": 1}


@pytest.fixture
def mine(tmp_path, monkeypatch) -> FileData:
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path / "mine.xyz", molecules(12))
    split = Split(train=0.5, val=0.25, test=0.25)
    return FileData(name="mine", path=str(path), energy_key="REF_energy", forces_key="REF_forces", split=split)


def test_the_page_on_python_runs_as_it_stands(tmp_path, shared_data):
    pytest.importorskip("mace")
    write(tmp_path / "my.xyz", read(shared_data / "3bpa" / "train_300K.xyz", index=":12"), format="extxyz")
    (script,) = re.findall(r"^```python\n(.*?)^```", DOC.read_text(), re.MULTILINE | re.DOTALL)
    quick = script.replace('"trainer.max_epochs": 50', '"trainer.max_epochs": 1, "trainer.check_val_every_n_epoch": 1')
    quick = quick.replace('"label.rows": 8', '"label.rows": 2')
    check = "\nfrom ase.io import read\nassert calculator.get_forces(read('my.xyz', index=0)).shape == (27, 3)\n"
    done = subprocess.run([sys.executable, "-c", quick + check], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "labels of gfn2_mace" in done.stdout
    assert "force_mae_meV_per_A" in done.stdout


def test_a_function_trains_what_the_command_trains(mine, command, tmp_path):
    run = train(data=mine, teacher="none", method="none", options=SMALL)
    options = [f"{name}={value}" for name, value in SMALL.items()]
    keys = ("data.energy_key=REF_energy", "data.forces_key=REF_forces", "hydra.run.dir=typed")
    split = ("data.split.train=0.5", "data.split.val=0.25", "data.split.test=0.25")
    done = command(
        "train", "data=extxyz", f"data.path={mine.path}", *keys, *split, "teacher=none", "method=none", *options
    )
    assert done.status == 0, done.err
    assert f"{run.metrics['force_mae_meV_per_A']:.3f}" in done.out
    typed = load(tmp_path / "typed")
    assert typed.options == run.student.options
    assert typed.reference_energies == run.student.reference_energies
    assert run.student.options["width"] == 8
    assert (run.folder / "config.yaml").exists()


class OwnPaiNN(PaiNN):
    """A student of the user's own class."""


def test_a_student_of_ones_own_is_trained_used_and_evaluated_with_trust(mine):
    own = f"{__name__}.OwnPaiNN"
    small = {"_target_": own, "width": 8, "layers": 1, "radial": 6, "cutoff": 4.0}
    run = train(data=mine, teacher="none", method="none", student=small, options={"trainer.max_epochs": 1})
    assert isinstance(run.student.ase().student, OwnPaiNN)
    with pytest.raises(DataError, match=f"add trust={own} "):
        evaluate(run.folder)
    assert evaluate(run.folder, options={"trust": own}) == pytest.approx(run.metrics, rel=1e-5)
    assert isinstance(load(run.folder, trust=[own]).ase().student, OwnPaiNN)


def test_a_misspelt_option_or_name_is_refused_as_on_the_command_line(mine):
    with pytest.raises(ConfigError, match=r"no option trainer\.max_epochz; did you mean trainer\.max_epochs"):
        train(data=mine, teacher="none", method="none", options={"trainer.max_epochz": 1})
    with pytest.raises(ConfigError, match=r"there is no student=pain; did you mean painn"):
        train(data=mine, student="pain")
    with pytest.raises(ConfigError, match=r"student\.width=wide is of the wrong type"):
        train(data=mine, teacher="none", method="none", options={"student.width": "wide"})


def test_groups_may_be_options(mine):
    with pytest.raises(ConfigError, match=r"there is no recipe=tiny"):
        train(data=mine, options={"recipe": "tiny"})


def test_a_required_option_of_a_chosen_group_may_be_given_beside_it(mine):
    with pytest.raises(ConfigError, match=r"teacher\.checkpoint is not set; give teacher\.checkpoint=…"):
        label(data=mine, teacher="mace")
    with pytest.raises(DataError, match=r"mine\.xyz frame 0 has no energy under data\.energy_key=energy"):
        train(data="extxyz", options={"data.path": mine.path})


def test_files_are_checked_as_on_the_command_line(mine):
    with pytest.raises(DataError, match=r"data\.path=nowhere\.xyz does not exist"):
        train(data="extxyz", options={"data.path": "nowhere.xyz"})
    with pytest.raises(ConfigError, match=r"data\.path=.*mine\.xyz is not a file of data=demo; add data=extxyz"):
        train(options={"data.path": mine.path})


def test_several_processes_are_refused_because_a_call_is_one(mine):
    with pytest.raises(ConfigError, match="asks for several processes"):
        train(data=mine, teacher="none", method="none", options={"trainer": "ddp"})


def test_a_teacher_may_be_given_by_how_it_is_built(mine, tmp_path):
    (tmp_path / "calls").mkdir()
    options = {"name": "numbers", "dtype": "float64", "folder": str(tmp_path / "calls"), "companions": 1}
    store = label(data=mine, teacher=TeacherSpec("tests.teachers.CompanionTeacher", options), options={"label.rows": 2})
    assert len(store) == 9
    assert store.teacher.name == "numbers"


def test_options_become_the_configuration_that_builds_them():
    node = as_node(FileData(name="mine", path="mine.xyz", split=Split(by="group")))
    assert node["_target_"] == "jointkd.data.options.FileData"
    assert node["split"]["_target_"] == "jointkd.data.splits.Split"
    assert node["split"]["by"] == "group"


def test_what_a_configuration_cannot_name_is_refused():
    with pytest.raises(ConfigError, match="cannot be written into the configuration"):
        as_node(ReaderData(name="mine", read=lambda: ([], {})))


def test_importing_the_package_imports_neither_torch_nor_hydra():
    asked = "import jointkd, sys; assert not {'torch', 'hydra', 'lightning'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked]).returncode == 0


def test_loading_a_student_imports_neither_hydra_nor_lightning():
    asked = "from jointkd import load; import sys; print(sorted({'hydra', 'lightning', 'wandb'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_command_is_run_by_its_name_and_an_unknown_one_is_refused(tmp_path):
    line = [sys.executable, "-m", "jointkd"]
    help_ = subprocess.run([*line, "train", "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert help_.returncode == 0
    assert "Label what is missing, train a student, test it." in help_.stdout
    overview = subprocess.run(line, capture_output=True, text=True)
    assert all(f"  {name} " in overview.stdout for name in ("train", "label", "simulate", "import_checkpoint"))
    wrong = subprocess.run([*line, "trian"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "did you mean train" in wrong.stderr

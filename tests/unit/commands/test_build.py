"""From a configuration to data, teacher, labels and student."""

import pytest

from jointkd.commands.build import build, build_module, data_options, label_place, prepare_data, teacher_spec
from jointkd.data.datamodule import DistillationData
from jointkd.data.options import FileData
from jointkd.errors import ConfigError
from tests.configurations import composed
from tests.files import molecules, saved

KEYS = ("data.energy_key=REF_energy", "data.forces_key=REF_forces")
SMALL = ("student.width=8", "student.layers=1", "student.cutoff=4")


@pytest.fixture
def mine(tmp_path, monkeypatch) -> tuple[str, ...]:
    monkeypatch.chdir(tmp_path)
    return ("data=extxyz", f"data.path={saved(tmp_path / 'mine.xyz', molecules(30))}", *KEYS, *SMALL)


@pytest.mark.parametrize("student", ["painn", "gemnet_dt"])
def test_batches_come_with_the_graph_of_the_student(mine, tmp_path, student):
    options = [option for option in mine if student == "painn" or "layers" not in option]
    module, data = build(composed(*options, f"student={student}", "teacher=none", "method=none"), tmp_path)
    batch = next(iter(data.train_dataloader()))
    assert isinstance(batch.graph, type(module.student.graph_of(batch)))


def test_the_data_of_a_configuration_are_plain_values(mine):
    options = data_options(composed(*mine, "data.units.length=bohr", "data.split.by=frame"))
    assert isinstance(options, FileData)
    assert options.name == "mine"
    assert options.units == {"energy": "eV", "length": "bohr"}
    assert type(options.units) is dict


def test_data_that_are_no_data_options_are_refused():
    with pytest.raises(ConfigError, match=r"data\._target_=builtins\.dict must be a subclass of DataOptions"):
        data_options(composed("data._target_=builtins.dict"))


def test_a_teacher_is_described_without_being_built():
    spec = teacher_spec(composed("teacher=mace_off", "teacher.python=other/bin/python"))
    assert spec.name == "mace_off_large"
    assert spec.python == "other/bin/python"
    assert "python" not in spec.options
    assert teacher_spec(composed("teacher=none", "method=none")) is None


def test_labels_of_no_teacher_have_no_place():
    with pytest.raises(ConfigError, match="teacher=none makes no labels"):
        label_place(composed("teacher=none", "method=none"))


def test_options_of_the_label_command_do_not_decide_which_labels_they_are(tmp_path):
    place = label_place(composed("teacher=demo", "label.rows=3"))
    assert place.options.settings == {"rows": 3, "eval_rows": 2, "row_seed": 0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["optimizer.lr=-1"], "optimizer: Invalid learning rate: -1"),
        (["optimizer._target_=torch.optim.SGD"], "optimizer: .*unexpected keyword argument 'eps'"),
        (["schedule=plateau", "schedulers.plateau.factor=3"], "schedulers: Factor should be < 1"),
        (
            ["weights={energy: 0, forces: 0, hessian: 0, atomic_energy: 0}"],
            "nothing is learned, as method.terms.energy",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_when_the_student_is_built(options, message):
    with pytest.raises(ConfigError, match=message):
        build_module(composed(*SMALL, *options))


def test_a_seed_out_of_range_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="seed=-1 must be an integer from 0 to 4294967295"):
        build(composed("seed=-1"), tmp_path)


def test_a_cutoff_without_neighbours_is_refused_for_every_student(tmp_path):
    data = DistillationData(data_options(composed("data.prepared=null")))
    with pytest.raises(ConfigError, match=r"student\.cutoff=0\.5 Å is shorter than bonds"):
        prepare_data(data, tmp_path, 0.5, None)


def test_the_report_on_partly_labelled_data_is_of_their_reference_labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    some = molecules(30)
    for atoms in some[::3]:
        del atoms.info["REF_energy"], atoms.arrays["REF_forces"]
    path = saved(tmp_path / "partly.xyz", some)
    config = composed("data=extxyz", f"data.path={path}", *KEYS, "data.missing=teacher", "data.report=true")
    data = DistillationData(data_options(config))
    prepare_data(data, tmp_path, 4.0, None)
    report = (tmp_path / "report.txt").read_text()
    assert report.startswith("partly, structures with reference labels: 20 structures")
    assert "energies          none" not in report
    assert "forces            none" not in report

"""A user's mistake ends every command with exit status 1 and a one-line error with a remedy."""

import resource

import pytest

from tests.files import molecules, saved

KEYS = ("data=extxyz", "data.energy_key=REF_energy", "data.forces_key=REF_forces", "data.split.by=frame")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trainer.max_epochz=3"], "did you mean trainer.max_epochs?"),
        (["-m", "metod=none,joint"], "did you mean method?"),
        (["method=none,joint"], "add -m for a run of each"),
        (["data=extxyz"], "data.path is not set"),
        (["name=${data.nam}"], "Interpolation key 'data.nam' not found"),
    ],
)
def test_an_option_that_does_not_exist_is_refused_before_anything_is_written(command, tmp_path, arguments, message):
    result = command("train", *arguments)
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert result.err.startswith("ConfigError: ")
    assert message in result.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["student.width=foo"], "student.width=foo is of the wrong type"),
        (["data.batch_size=0"], "data.batch_size=0"),
        (["data.workers=-1"], "data.workers=-1"),
        (["data.path=."], "data.path=. must not contain the working directory"),
        (["trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches=0 must be a positive integer"),
        (["+trainer.precision=foo"], "trainer: Precision 'foo' is invalid"),
        (["data.split=group"], "data.split=group is not known; give data.split.by"),
        (["data.subset=Br"], "data.subset=Br must be a rule"),
        (["method.rows=4"], "method.rows=4 is not known; choose one of fresh, fixed, mixed"),
        (["method=hessian", "hessian.rows=0"], "hessian.rows=0 must be a positive integer"),
        (["teacher=demo", "method=joint", "hessian.rows=4", "label.rows=2"], "hessian.rows=4 and label.rows=2"),
        (["teacher=demo", "teacher.batch_atoms=0"], "teacher.batch_atoms=0 must be a positive integer or null"),
        (["compile=always"], "compile=always is not known; choose auto, true or false"),
        (["data.path=/dev/null"], "data.path=/dev/null is neither a file nor a folder"),
        (["teacher=none", "method=joint"], "method=joint needs a teacher"),
        (["teacher=mace", "teacher.checkpoint=missing.model"], "missing.model does not exist"),
    ],
)
def test_an_invalid_value_gives_a_one_line_error(command, tmp_path, arguments, message):
    saved(tmp_path / "mine.xyz", molecules(30))
    result = command("train", *KEYS, "data.path=mine.xyz", "teacher=none", "method=none", *arguments)
    assert result.status == 1
    assert message in result.err
    assert result.err.count("\n") == 1


def test_the_options_of_the_trainer_are_checked_before_labelling(command, tmp_path):
    result = command("train", "+trainer.precision=foo")
    assert result.status == 1
    assert "Precision 'foo' is invalid" in result.err
    assert not list(tmp_path.rglob("labels"))


def test_a_sweep_continues_after_a_failed_job_and_ends_with_status_1(command, tmp_path):
    result = command("train", "-m", "data=extxyz", "data.path=a.xyz,b.xyz", "hydra.sweep.dir=sweep")
    assert result.status == 1
    assert "Traceback" not in result.err
    assert "DataError: data.path=a.xyz does not exist" in result.err
    assert "DataError: data.path=b.xyz does not exist" in result.err


def test_a_bug_keeps_its_traceback(command, monkeypatch):
    def broken(config):
        raise KeyError("a bug")

    monkeypatch.setattr("jointkd.commands.train.run", broken)
    with pytest.raises(KeyError, match=r"a bug"):
        command("train")


@pytest.mark.parametrize(("name", "option"), [("evaluate", "run"), ("report", "runs")])
def test_a_folder_without_runs_is_refused_and_not_created(command, tmp_path, name, option):
    result = command(name, f"{option}=nowhere")
    assert result.status == 1
    assert result.err.startswith(f"DataError: {option}=nowhere does not exist")
    assert result.err.count("\n") == 1
    assert not (tmp_path / "nowhere").exists()


def test_a_file_without_labels_is_refused_unless_the_reference_is_the_teacher(command, tmp_path):
    saved(tmp_path / "mine.xyz", molecules(30))
    result = command("train", *KEYS, "data.path=mine.xyz", "data.energy_key=null", "data.forces_key=null")
    assert result.status == 1
    assert result.err.startswith("DataError: ")
    assert "data.reference=teacher" in result.err
    assert result.err.count("\n") == 1


def test_a_full_disk_during_training_gives_a_one_line_error_and_no_partial_checkpoint(command, tmp_path):
    saved(tmp_path / "mine.xyz", molecules(20))
    options = ("teacher=none", "method=none", "student.width=16", "student.layers=1", "student.radial=4")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # writing a larger file fails, as on a full disk
    try:
        result = command("train", *KEYS, "data.path=mine.xyz", *options, "trainer.max_epochs=1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.status == 1
    assert "StorageError" in result.err
    assert "cannot be written" in result.err
    assert "Traceback" not in result.err
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("sweep", "names"), [([], ["demo"]), (["-m"], ["demo", "mptrj"])], ids=["one run", "a sweep of two"]
)
def test_each_mistake_is_printed_once_also_in_a_sweep(command, sweep, names):
    result = command("train", *sweep, "teacher=paper", f"data={','.join(names)}")
    assert result.status == 1
    errors = [line for line in result.err.splitlines() if line.startswith("ConfigError")]
    remedy = "choose one, as teacher=mace_off or teacher=mace_mp"
    assert errors == [f"ConfigError: the paper has no teacher for data={data}; {remedy}" for data in names]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trainer.max_epochs=-5"], "`max_epochs` must be a non-negative integer"),
        (["trainer.devices=-3"], "leave out trainer.accelerator and trainer.devices, or give what this machine has"),
        (
            ["trainer.accelerator=cpux"],
            "leave out trainer.accelerator and trainer.devices, or give what this machine has",
        ),
        (["trainer.gradient_clip_val=-1"], "trainer.gradient_clip_val=-1 must be a number of at least 0"),
        (["trainer.check_val_every_n_epoch=0"], "trainer.check_val_every_n_epoch=0 must be a positive integer"),
        (["teacher=demo", "method=joint", "label.rows=-1"], "label.rows=-1 must be a number of Hessian rows or all"),
        (["teacher=demo", "method=joint", "label.rows=0"], "hessian.rows=1 and label.rows=0"),
        (["method=joint"], "method=joint needs a teacher"),
        (["data.reference=teacher"], "data.reference=teacher needs a teacher"),
        (["data.split.train=0.9", "data.split.val=0.2"], "must be shares of the whole"),
        (["student_weights=mine.xyz"], "mine.xyz is not a student file"),
    ],
)
def test_options_are_refused_before_the_data_are_read(command, monkeypatch, tmp_path, arguments, message):
    def read(*_):
        raise AssertionError("the data are read")

    monkeypatch.setattr("jointkd.commands.build.DistillationData", read)
    saved(tmp_path / "mine.xyz", molecules(3))
    result = command("train", *KEYS, "data.path=mine.xyz", "teacher=none", "method=none", *arguments)
    assert result.status == 1
    assert message in result.err
    assert result.err.count("\n") == 1


def test_labelling_refuses_its_options_before_the_data_are_read(command, monkeypatch, tmp_path):
    monkeypatch.setattr("jointkd.commands.label.build", lambda *_: pytest.fail("the data are read"))
    assert "teacher=none makes no labels" in command("label", "teacher=none", "method=none").err
    assert "label.rows=-1 must be" in command("label", "label.rows=-1").err

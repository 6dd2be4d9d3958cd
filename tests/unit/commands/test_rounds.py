"""Rounds of sampling and training: each phase once, in its order, whenever the command is stopped and repeated."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ase.build import molecule
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

from jointkd.commands import rounds as module
from jointkd.commands.recorded_training import recorded_training
from jointkd.commands.rounds import Rounds
from jointkd.errors import ConfigError, DataError
from jointkd.sampling.sample import Sampled
from tests.configurations import composed
from tests.files import molecules, saved

OWN = "tests.calculators.Springs"


@pytest.fixture(scope="module")
def configuration() -> str:
    """The configuration of a run, as it is recorded."""
    config = composed("data=extxyz", "data.path=mine.xyz", "teacher=mace_off", "logger=tensorboard")
    return OmegaConf.to_yaml(config, resolve=True)


@pytest.fixture
def first(tmp_path, monkeypatch, configuration) -> Path:
    """The folder of a finished run, whose configuration is whole and whose other files are sketches."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "mine.xyz", molecules(3))
    composed()  # a command is active
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / "config.yaml").write_text(configuration, encoding="utf-8")
    finish(folder, 100.0)
    return folder


def finish(folder: Path, error: float) -> None:
    """Write what a training that ends leaves."""
    (folder / "metrics").mkdir(parents=True)
    (folder / "metrics" / "metrics.csv").write_text(f"step,val/force_mae_meV_per_A\n1,{error + 9}\n2,{error}\n")
    (folder / "student.safetensors").write_bytes(f"{error}".encode())
    test = {"force_mae_meV_per_A": error + 1, "energy_mae_meV_per_atom": error / 10}
    (folder / "summary.json").write_text(json.dumps({"test": test}))


def changed(folder: Path, **groups) -> None:
    """Change groups of a run's configuration."""
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    for name, values in groups.items():
        config[name] = values if values is None else config[name] | values
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def rounds(count=2, **given) -> Rounds:
    """So many rounds that begin with the first run; given: sampling options."""
    return Rounds.of(count, {"output": "out", "mover": "first", **given})


@pytest.fixture
def phases(monkeypatch) -> SimpleNamespace:
    """Sampling and training that only take notes, and are interrupted at the phase whose number is `stop`."""
    notes = SimpleNamespace(done=[], begun=0, stop=None, found=5)

    def begin() -> None:
        notes.begun += 1
        if notes.begun == notes.stop:
            raise KeyboardInterrupt

    def make_structures(config, options):
        begin()
        notes.done.append(("sample", options.mover, options.seed, list(config.data.unlabelled)))
        if notes.found:
            saved(Path(options.output), [molecule("H2O")])
        return Sampled([molecule("H2O")] * notes.found, 3, 7.0)

    def run(config):
        folder = Path(config.callbacks.last.dirpath).parent
        (folder / "checkpoints").mkdir(exist_ok=True)
        if config.ckpt_path is None:
            (folder / "checkpoints" / "last.ckpt").touch()
        begin()
        notes.done.append(("train", folder.name, config.ckpt_path, list(config.data.unlabelled)))
        finish(folder, 50.0)

    monkeypatch.setattr(module, "make_structures", make_structures)
    monkeypatch.setattr(module.train, "run", run)
    return notes


ALL = [
    ("sample", "first", 0, []),
    ("train", "round-1", None, ["out/round-1.xyz"]),
    ("sample", "out/round-1", 1, ["out/round-1.xyz"]),
    ("train", "round-2", None, ["out/round-1.xyz", "out/round-2.xyz"]),
]


def test_the_last_student_samples_and_the_next_is_trained_on_all_that_was_sampled(first, phases, caplog):
    caplog.set_level(logging.INFO)
    rounds().run()
    assert phases.done == ALL
    assert [line.split() for line in caplog.messages[-1].splitlines()[1:]] == [
        ["0", "100.0", "101.0", "10.0"],
        ["1", "5", "3", "7", "50.0", "51.0", "5.0"],
        ["2", "5", "3", "7", "50.0", "51.0", "5.0"],
    ]


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_repeated_command_does_what_is_left_and_more_rounds_go_on(first, phases, stop):
    phases.stop = stop
    with pytest.raises(KeyboardInterrupt):
        rounds().run()
    rounds().run()
    expected = list(ALL)
    if expected[stop - 1][0] == "train":  # it had a checkpoint
        expected[stop - 1] = (*expected[stop - 1][:2], "last", expected[stop - 1][3])
    assert phases.done == expected
    rounds().run()
    assert len(phases.done) == 4
    rounds(3).run()
    assert [entry[1] for entry in phases.done[4:]] == ["out/round-2", "round-3"]


def test_rounds_end_where_nothing_new_is_found(first, phases, caplog):
    phases.found = 0
    rounds().run()
    assert [entry[0] for entry in phases.done] == ["sample"]
    assert "round 1 is the last one: it has found no new structures" in caplog.text


def test_rounds_with_other_options_or_of_another_run_are_refused(first, phases):
    rounds().run()
    with pytest.raises(ConfigError, match=r"out was made with number=200, steps=500; give these options"):
        rounds(2, steps=100, number=9).run()
    changed(first, optimizer={"lr": 0.5})
    with pytest.raises(ConfigError, match=r"out was made with its config.yaml="):
        rounds().run()
    assert len(phases.done) == 4


@pytest.mark.parametrize(
    ("count", "given", "message"),
    [
        (0, {}, "rounds=0 must be a positive integer"),
        (2, {"mover": "teacher"}, "rounds=2 needs a student that samples; give with=FOLDER"),
        (2, {"output": "new.xyz"}, "output=new.xyz: rounds=2 fill a folder"),
        (2, {"output": "mine.xyz"}, "output=mine.xyz: rounds=2 fill a folder"),
        (2, {"mover": "first/student.safetensors"}, "with=first/student.safetensors is not a folder, and rounds"),
        (2, {"mover": "first/metrics"}, "with=first/metrics holds no finished run: it has no config.yaml"),
        (2, {"steps": 5}, "interval=20 is longer than steps=5"),
    ],
)
def test_what_cannot_be_done_in_rounds_is_refused_and_writes_nothing(first, count, given, message):
    before = set(Path.cwd().rglob("*"))
    with pytest.raises((ConfigError, DataError), match=message):
        rounds(count, **given)
    assert set(Path.cwd().rglob("*")) == before


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"teacher": {"_target_": None}}, "with=first was trained without a teacher"),
        ({"trainer": {"strategy": "ddp", "devices": 2}}, "with=first was trained on several devices"),
        ({"data": {"path": "gone.xyz"}}, "data.path=gone.xyz does not exist"),
        ({"data": {"prepared": "set"}}, "with=first was trained with data.prepared=set, to which nothing can be added"),
        ({"data": {"stress_key": "s", "stress": {"kind": "virial", "positive": "tension"}}}, "not used with data.unla"),
        ({"optimizer": {"_target_": "os.system"}}, r"config.yaml names os.system, .* add trust=os.system"),
        ({"callbacks": {"mine": [{"_target_": "os.system"}]}}, r"config.yaml names os.system"),
        ({"teacher": {"calculator": OWN}}, rf"names {OWN}"),
        ({"label": None}, "config.yaml is missing or damaged"),
    ],
)
def test_runs_that_cannot_be_trained_again_are_refused(first, groups, message):
    (Path.cwd() / "set").mkdir()
    (Path.cwd() / "set" / "manifest.json").touch()
    if groups.get("teacher") == {"_target_": None}:
        config = yaml.safe_load((first / "config.yaml").read_text(encoding="utf-8"))
        config["teacher"] = {"name": "none"}
        (first / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    else:
        changed(first, **groups)
    with pytest.raises((ConfigError, DataError, InstantiationException), match=message):
        recorded_training(Path("first"), None)


def test_a_recorded_training_writes_to_its_new_folder_and_begins_like_the_run(first):
    changed(first, teacher={"calculator": OWN, "python": "/elsewhere/python"})
    config = recorded_training(Path("first"), OWN)
    assert config["callbacks"]["last"]["dirpath"] == "${hydra:runtime.output_dir}/checkpoints"
    assert config["callbacks"]["interrupt"]["directory"] == "${hydra:runtime.output_dir}/checkpoints"
    assert config["logger"]["csv"]["save_dir"] == config["logger"]["tensorboard"]["save_dir"]
    assert config["logger"]["csv"]["save_dir"] == "${hydra:runtime.output_dir}"
    assert config["teacher"]["python"] is None
    before = yaml.safe_load((first / "config.yaml").read_text(encoding="utf-8"))
    assert all(config[name] == before[name] for name in ("optimizer", "student", "method", "label", "data", "seed"))


def test_a_fine_tuned_run_begins_again_from_the_same_weights(first):
    config = yaml.safe_load((first / "config.yaml").read_text(encoding="utf-8"))
    config |= {"finetune": "mine.xyz", "student_weights": "mine.xyz", "ckpt_path": "last", "overwrite": True}
    (first / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    again = recorded_training(Path("first"), None)
    assert (again["finetune"], again["student_weights"]) == (None, "mine.xyz")
    assert (again["ckpt_path"], again["overwrite"]) == (None, False)


def test_options_that_a_run_of_an_earlier_version_lacks_have_their_defaults(first):
    config = yaml.safe_load((first / "config.yaml").read_text(encoding="utf-8"))
    del config["label"]["probes"], config["hessian"]["limit"]
    (first / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    again = recorded_training(Path("first"), None)
    assert again["label"]["probes"] == 0
    assert again["hessian"]["limit"] is None

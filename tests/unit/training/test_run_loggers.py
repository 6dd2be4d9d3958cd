"""One run with all loggers: the same names and values in the CSV file, TensorBoard and an offline run of W&B."""

import csv
import importlib.util
import os

import pytest
from lightning.pytorch.loggers import CSVLogger
from matplotlib import image

from jointkd.errors import ConfigError
from jointkd.training import wandb_logger as wandb_module
from jointkd.training.callbacks.prediction_record import PredictionRecord
from jointkd.training.callbacks.run_metrics import RunMetrics
from jointkd.training.run_loggers import PICTURE, log_results, run_logged
from jointkd.training.tensorboard_logger import tensorboard_logger
from tests.toy import toy_data, toy_module, toy_trainer
from tests.wandb_files import records_of

OWN = {"epoch", "step", "trainer/global_step"}  # what each logger counts steps by
FILES = ("student.safetensors", "student.md", "split.json", "summary.json", "metrics/metrics.csv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a run of two epochs and a test, with its logs; the files of results hold their names."""
    folder = tmp_path_factory.mktemp("run")
    loggers = [
        CSVLogger(folder, name=None, version="metrics"),
        *([tensorboard_logger(str(folder))] if importlib.util.find_spec("tensorboard") else []),
    ]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("WANDB_MODE", "offline")  # which the logger changes
        environment.delenv("WANDB_MODE")
        environment.setattr(wandb_module, "reachable", lambda: False)
        environment.setenv("WANDB_DATA_DIR", str(folder / "staging"))
        environment.setenv("WANDB_SILENT", "true")
        loggers.append(
            wandb_module.wandb_logger(project="test", save_dir=str(folder), artifacts=list(wandb_module.ARTIFACTS))
        )
        data, module, record = toy_data(folder, batch_size=6), toy_module(), PredictionRecord()
        module.set_references(data.references.energies)
        trainer = toy_trainer(folder, 2, RunMetrics(), record, logger=loggers, log_every_n_steps=1)
        with run_logged(loggers, {"method": {"name": "joint"}, "seed": 3}):
            trainer.fit(module, datamodule=data)
            trainer.test(module, datamodule=data, verbose=False)
            record.write(folder)
            for name in FILES:
                if not (folder / name).exists():
                    (folder / name).write_text(name)
            log_results(loggers, folder, trainer.global_step)
    return folder


@pytest.fixture(scope="module")
def logged(folder):
    """The values of the CSV file by name and step."""
    with (folder / "metrics" / "metrics.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    names = set(rows[0]) - OWN
    return {name: {int(row["step"]): float(row[name]) for row in rows if row[name]} for name in names}


@pytest.fixture(scope="module")
def stored(folder):
    """The records of the only offline run."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    return records_of(file)


def test_what_is_logged_has_the_names_of_the_sections(logged):
    assert {name.partition("/")[0] for name in logged} == {"train", "val", "perf", "test"}
    training = ("loss", "hessian", "weight_hessian", "learning_rate", "gradient_norm")
    assert {f"train/{name}" for name in training} <= logged.keys()
    assert {"perf/structures_per_s", "perf/memory_MB", "val/force_mae_meV_per_A"} <= logged.keys()
    assert "test/hessian_row_mae_eV_per_A2" in logged


def test_an_offline_run_of_weights_and_biases_has_the_values_of_the_csv_file(logged, stored):
    values: dict[str, dict[int, float]] = {}
    for row in stored.history:
        for name in (key for key in row if key not in OWN and not key.startswith("_")):
            values.setdefault(name, {})[row["trainer/global_step"]] = row[name]
    del values[PICTURE]
    assert values.keys() == logged.keys()
    assert all(values[name] == pytest.approx(logged[name], rel=1e-6) for name in logged)


def test_tensorboard_has_the_values_and_the_picture(folder, logged):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    values = {name: {event.step: event.value for event in events.Scalars(name)} for name in events.Tags()["scalars"]}
    assert values.keys() - OWN == logged.keys()
    assert all(values[name] == pytest.approx(logged[name], rel=1e-6) for name in logged)
    (shown,) = events.Images(PICTURE)
    assert (shown.height, shown.width) == image.imread(folder / "test.png").shape[:2]
    assert shown.step == max(logged["test/force_mae_meV_per_A"])


def test_an_offline_run_has_the_options_the_picture_and_the_artifacts_and_has_ended(folder, stored):
    assert stored.config["method"] == {"name": "joint"}
    assert stored.config["seed"] == 3
    (shown,) = [row[PICTURE] for row in stored.history if PICTURE in row]
    (picture,) = folder.glob(f"wandb/offline-run-*/files/{shown['filenames'][0]}")
    assert picture.read_bytes() == (folder / "test.png").read_bytes()
    assert stored.artifacts == {
        "student": ("model", {"student.safetensors", "student.md"}),
        "split": ("dataset", {"split.json"}),
        "results": ("results", {"summary.json", "split.json", "test.csv", "parity.npz", "metrics/metrics.csv"}),
    }
    assert stored.exit_code == 0


def test_a_run_that_fails_ends_as_failed_and_the_next_of_the_process_is_another(tmp_path, monkeypatch):
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_SILENT", "true")):
        monkeypatch.setenv(name, value)
    for number in (1, 2):
        logger = wandb_module.wandb_logger(project="test", save_dir=str(tmp_path / str(number)))
        with pytest.raises(ZeroDivisionError), run_logged([logger], {"seed": number}):
            raise ZeroDivisionError
    files = [next(tmp_path.glob(f"{number}/wandb/offline-run-*/*.wandb")) for number in (1, 2)]
    assert [records_of(file).exit_code for file in files] == [1, 1]


def test_a_resumed_run_is_the_newest_of_its_folder_unless_an_id_is_given(tmp_path, monkeypatch):
    for age, name in enumerate(("newest", "older")):
        file = tmp_path / "wandb" / f"offline-run-{age}-{name}" / f"run-{name}.wandb"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (1e9 - age, 1e9 - age))
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")

    def id_of(resumed, **options):
        logger = wandb_module.wandb_logger(project="test", save_dir=str(tmp_path), **options)
        monkeypatch.setattr(logger, "log_hyperparams", lambda _: None)  # would begin the run
        with run_logged([logger], {}, resumed):
            return logger.version

    assert (id_of(True), id_of(False), id_of(True, id="mine")) == ("newest", None, "mine")
    monkeypatch.setenv("WANDB_RUN_ID", "mine")  # wandb takes it where the logger has none
    assert id_of(True) is None


def test_an_unknown_artifact_is_refused_before_the_run_begins(tmp_path):
    with pytest.raises(ConfigError, match=r"artifacts has studnet.*did you mean student\? choose from student, split"):
        wandb_module.wandb_logger(project="test", save_dir=str(tmp_path), artifacts=["studnet"])
    assert not list(tmp_path.iterdir())

"""`compile=true`: training steps are traced, padded and as exact as those that run operation by operation."""

import csv
import json

import pytest

from jointkd.training import compiled_step
from jointkd.training.loss import Forces
from tests.files import molecules, saved
from tests.unit.training.test_compiled_step import as_it_is

OPTIONS = (
    *("data=extxyz", "data.energy_key=REF_energy", "data.forces_key=REF_forces", "data.split.by=frame"),
    *("data.path=mine.xyz", "teacher=none", "method=none", "trainer.max_epochs=3", "trainer.log_every_n_steps=1"),
    *("student.width=8", "student.layers=1", "student.radial=4", "student.cutoff=4", "hydra.run.dir=run"),
)


class OwnCall(Forces):
    """A term that sums by itself."""

    def __call__(self, prediction, batch):
        return super().__call__(prediction, batch)


def curve(folder) -> list[dict[str, str]]:
    with (folder / "run" / "metrics" / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers(row: dict[str, str]) -> dict[str, float]:
    return {name: float(value) for name, value in row.items() if value and name.startswith(("train/", "val/"))}


@pytest.fixture
def mine(tmp_path):
    saved(tmp_path / "mine.xyz", molecules(30))
    return tmp_path


def test_a_run_with_traced_steps_has_the_curve_of_one_without(command, mine, monkeypatch):
    monkeypatch.setattr(compiled_step, "inductor", as_it_is)
    curves = []
    for compiled in ("true", "auto"):  # auto: not on a CPU
        result = command("train", *OPTIONS, f"compile={compiled}", "overwrite=true")
        assert result.status == 0, result.err
        assert ("compiled the training step" in result.out + result.err) == (compiled == "true")
        curves.append(curve(mine))
    assert len(curves[0]) == len(curves[1]) > 6
    for traced, plain in zip(*curves, strict=True):
        assert numbers(traced) == pytest.approx(numbers(plain), rel=1e-5)
    assert json.loads((mine / "run" / "summary.json").read_text(encoding="utf-8"))


def test_terms_that_sum_by_themselves_are_not_compiled_and_the_log_names_them(command, mine):
    term = "method.terms.forces._target_=tests.integration.test_compiled_training.OwnCall"
    result = command("train", *OPTIONS, "compile=true", term)
    assert result.status == 0, result.err
    assert "training steps are not compiled, as forces has a __call__ of its own" in result.out + result.err

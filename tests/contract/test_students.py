"""What every student must satisfy: each class in conf/student, in both of its forms, small, in float64."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from jointkd.contracts.structures import CUTOFF, SALT, WATER
from jointkd.contracts.students import StudentContract
from jointkd.contracts.students.built import separate
from jointkd.contracts.students.derivatives import Derivatives, loss
from jointkd.students import kernels, operations
from jointkd.students.derivatives import predict

CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "student").glob("[!_]*.yaml"))
SMALL = {"width": 16, "layers": 2, "blocks": 2, "radial": 6, "spherical": 4, "cutoff": CUTOFF}
FORMS = {None: "", False: "-direct", True: "-conservative"}


def every_form() -> dict[str, dict[str, Any]]:
    """Configurations by name: each class in the form that its file chooses and, if no file does, in the other one."""
    configs = {path.stem: OmegaConf.to_container(OmegaConf.load(path)) for path in CONFIGS}
    found, seen = {}, set()
    for chosen in (True, False):
        for name, config in configs.items():
            conservative = config.get("conservative")
            if conservative is not None and not chosen:
                conservative = not conservative
            if (config["_target_"], conservative) not in seen:
                seen.add((config["_target_"], conservative))
                overrides = {**SMALL, "conservative": conservative}
                small = {key: value for key, value in overrides.items() if key in config}
                found[name + FORMS[conservative]] = {**config, **small}
    return found


STUDENTS = every_form()


class TestStudents(StudentContract):
    """Structures here go through the kernels, as large ones do; small ones are left to torch."""

    @pytest.fixture(autouse=True, params=STUDENTS.values(), ids=STUDENTS)
    def _student(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        self.config = request.param
        for name in vars(operations):
            if name.startswith("SMALL_"):
                monkeypatch.setattr(operations, name, 0)

    def test_predictions_and_gradients_are_the_same_without_kernels(self):
        student = self.student().requires_grad_(True)
        batch, ids = self.batch(student, [WATER, SALT]), torch.tensor([[0, 4], [5, 2]])
        results = []
        for context in (nullcontext(), kernels.disabled()):
            with context:
                prediction = predict(student, batch, ids)
                value = loss(separate(prediction, batch), [1.0, 1.0])
                slopes = torch.autograd.grad(value, list(student.parameters()), materialize_grads=True)
            results.append([*prediction[:3], *slopes])
        for fast, plain in zip(*results, strict=True):
            self.same(fast, plain, 1e-10, "a prediction or gradient with kernels", floor=0.1)


class TestPlainStudents(Derivatives):
    """Derivatives without kernels, as on a GPU and in exported students."""

    @pytest.fixture(autouse=True, params=STUDENTS.values(), ids=STUDENTS)
    def _student(self, request: pytest.FixtureRequest) -> Iterator[None]:
        self.config = request.param
        with kernels.disabled():
            yield

"""What every student must satisfy: each class in conf/student, in both of its forms, small, in float64."""

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from jointkd.contracts.structures import CUTOFF, SALT, WATER
from jointkd.contracts.students import StudentContract
from jointkd.contracts.students.built import separate
from jointkd.contracts.students.derivatives import loss
from jointkd.students import kernels
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
KERNELS = [
    importlib.import_module(f"{kernels.__name__}.{module.name}") for module in pkgutil.iter_modules(kernels.__path__)
]
SIZED = [module for module in KERNELS if hasattr(module, "SMALL")]


class TestStudents(StudentContract):
    """Structures here take the way of large ones, by functions of our own; small ones leave more to torch."""

    @pytest.fixture(autouse=True, params=STUDENTS.values(), ids=STUDENTS)
    def _student(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        self.config = request.param
        for module in SIZED:
            monkeypatch.setattr(module, "SMALL", 0)

    def test_small_and_large_structures_have_the_same_predictions_and_gradients(self, monkeypatch):
        student = self.student().requires_grad_(True)
        batch, ids = self.batch(student, [WATER, SALT]), torch.tensor([[0, 4], [5, 2]])
        results = []
        for size in (0, 2**20):
            for module in SIZED:
                monkeypatch.setattr(module, "SMALL", size)
            prediction = predict(student, batch, ids)
            value = loss(separate(prediction, batch), [1.0, 1.0])
            slopes = torch.autograd.grad(value, list(student.parameters()), materialize_grads=True)
            results.append([*prediction[:3], *slopes])
        for large, small in zip(*results, strict=True):
            self.same(large, small, 1e-10, "a prediction or gradient of a large structure", floor=0.1)

"""Options that have no effect beside the others are named."""

import pytest
from omegaconf import OmegaConf

from jointkd.cli.unused import describe_unused
from tests.configurations import composed


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["method=none", "weights.hessian=3"], "weights.hessian=3 is not used with method=none"),
        (["method=none", "hessian.rows=2"], "hessian.rows=2 is not used with method=none"),
        (["method=atomic_energy", "method.rows=fixed"], "method.rows=fixed is not used with method=atomic_energy"),
        (
            ["method=none", "teacher=none", "label.validation=true"],
            "label.validation=true is not used with teacher=none",
        ),
        (["data.split.train=0.5"], "data.split.train=0.5 is not used with data.split.by=file"),
        (
            ["data.split.path=a.json", "data.split.by=frame"],
            "data.split.by=frame is not used with data.split.path, which",
        ),
        (["schedulers.plateau.factor=0.3"], "schedulers.plateau.factor=0.3 is not used with schedule=cosine"),
        (["data=iodine", "data.amin2025=mine"], "data.amin2025=mine is not used with these shares: set data.split="),
        (
            ["data.reference=teacher", "data.reference_energies=fit"],
            "data.reference_energies=fit is not used with data.",
        ),
    ],
)
def test_an_option_without_effect_is_named_with_the_reason(given, line):
    (described,) = describe_unused(composed(*given), given)
    assert described.startswith(line)


def test_options_that_are_used_are_not_named():
    given = ["method=joint", "weights.hessian=3", "hessian.rows=2", "label.rows=4", "data.split.by=file", "seed=1"]
    assert not describe_unused(composed(*given), given)
    assert not describe_unused(composed("method=none"), ["method=none"])


def test_friction_belongs_to_one_ensemble():
    assert describe_unused(OmegaConf.create({"ensemble": "nve"}), ["friction=1"])
    assert not describe_unused(OmegaConf.create({"ensemble": "nvt"}), ["friction=1"])

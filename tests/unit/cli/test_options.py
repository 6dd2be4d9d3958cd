"""Every configuration composes, the paper's numbers stand in it, and what is not in it is refused in one line."""

import os
import re
import subprocess
import sys

import hydra
import pytest
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

from jointkd.cli.command import as_mistake
from jointkd.cli.config_tree import CONF, NOT_GROUPS, choices
from jointkd.cli.options import check_overrides, check_values
from jointkd.errors import ConfigError, DataError
from tests.configurations import composed

EVERYTHING = [
    (group.name, choice)
    for group in sorted(CONF.iterdir())
    if group.is_dir() and group.name not in NOT_GROUPS
    for choice in choices(group.name)
]
MUST_BE_GIVEN = {
    "data": {"path": "mine.xyz"},
    "teacher": {
        "checkpoint": "a.model",
        "checkpoints": "[a.model,b.model]",
        "task": "omol",
        "calculator": "ase.calculators.emt.EMT",
    },
}


@pytest.mark.parametrize(("group", "choice"), EVERYTHING)
def test_every_choice_of_every_group_composes_and_resolves(group, choice):
    text = (CONF / group / f"{choice}.yaml").read_text()
    must = {name: value for name, value in MUST_BE_GIVEN.get(group, {}).items() if f"\n{name}: ???" in text}
    given = [f"{group}.{name}={value}" for name, value in must.items()]
    needed = ["data=monomers"] if (group, choice) == ("teacher", "paper") else []
    config = composed(f"{group}={choice}", *needed, *given)
    OmegaConf.resolve(config)
    assert not OmegaConf.missing_keys(config)


def test_all_groups_are_discovered():
    assert {"data", "method", "student", "teacher", "trainer", "logger", "recipe"} <= {group for group, _ in EVERYTHING}
    assert not [choice for _, choice in EVERYTHING if choice.startswith("_")]


@pytest.mark.parametrize("method", choices("method"))
def test_a_method_is_one_word(method):
    config = composed(f"method={method}")
    assert config.method.name == method
    assert config.name == f"demo_painn_{method}_seed0"


def test_the_recipe_of_the_example_is_chosen_for_the_example_alone():
    own = composed("data=extxyz", "data.path=mine.xyz", "student=painn")
    example = composed("data=demo", "student=painn")
    assert own.student.width == 128
    assert example.student.width < 128
    assert example.student.conservative


def test_the_defaults_are_the_numbers_of_the_paper():
    config = composed("method=joint", "data=extxyz", "data.path=mine.xyz")
    weights = {name: term.weight for name, term in config.method.terms.items()}
    assert weights == {"energy": 5, "forces": 100, "atomic_energy": 20, "hessian": 400}
    optimizer = config.optimizer
    assert (optimizer.lr, optimizer.weight_decay, optimizer.eps, optimizer.amsgrad) == (1e-3, 2e-6, 1e-7, True)
    assert config.trainer.gradient_clip_val == 10
    assert config.callbacks.ema.decay == 0.999
    plateau = config.schedulers[config.schedule]
    assert plateau._target_.endswith("ReduceLROnPlateau")
    assert (plateau.factor, plateau.patience, plateau.min_lr) == (0.8, 10, 5e-6)
    student = config.student
    assert (student.width, student.layers, student.radial, student.cutoff) == (128, 4, 128, 12.0)


def test_methods_differ_only_in_the_weights_of_their_terms():
    used = {
        method: {name for name, term in composed(f"method={method}").method.terms.items() if term.weight}
        for method in choices("method")
    }
    assert used == {
        "none": {"energy", "forces"},
        "hessian": {"energy", "forces", "hessian"},
        "atomic_energy": {"energy", "forces", "atomic_energy"},
        "joint": {"energy", "forces", "hessian", "atomic_energy"},
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["method=jiont"], r"there is no method=jiont; did you mean joint\?"),
        (["method=none,jiont"], r"there is no method=jiont; did you mean joint\?"),
        (["logger=[csv,wandbb]"], r"there is no logger=wandbb; did you mean wandb\?"),
        (["trainer.max_epochz=3"], r"no option trainer.max_epochz; did you mean trainer.max_epochs\?"),
        (["data.units.enrgy=eV"], r"no option data.units.enrgy; did you mean data.units.energy\?"),
        (["weigths.hessian=3"], r"no option weigths.hessian; did you mean weights.hessian\?"),
        (["metod=joint"], r"no option metod; did you mean method\?"),
        (["~loger"], r"no option loger"),
        (["trainer.precision=16-mixed"], r"\+trainer.precision=… adds one that lightning.Trainer takes"),
        (["method"], r"write options as name=value"),
        (["seed=[1"], r"write options as name=value"),
        (["data=extxyz"], r"data.path is not set; give it as data.path=…"),
        (["teacher=mace"], r"teacher.checkpoint is not set"),
    ],
)
def test_a_misspelt_or_missing_option_is_named_with_the_nearest_one(arguments, said):
    with pytest.raises(ConfigError, match=said) as caught:
        check_overrides("train", arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["method=none,hessian,joint", "seed=range(0,3)"],
        ["method=glob(*)"],
        ["logger=[csv,wandb]"],
        ["~logger", "+trainer.precision=16-mixed", "hydra.run.dir=somewhere"],
        ["data.reference_energies={H: -13.6, O: -2040}", "experiment=demo", "teacher=none"],
        ["method.terms.atomic_energy.weight=0,1,10"],
    ],
)
def test_whatever_hydra_understands_is_let_through(arguments):
    check_overrides("train", arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trainer.max_epochs=abc"], "trainer.max_epochs=abc is of the wrong type; give it a value of type int"),
        (["trainer.max_epochs=1.5"], "trainer.max_epochs=1.5 is of the wrong type"),
        (["student.width=foo"], "student.width=foo is of the wrong type; give it a value of type int"),
        (["student.conservative=3"], "student.conservative=3 is of the wrong type"),
        (["data.batch_size=many"], "data.batch_size=many is of the wrong type"),
        (["seed=abc"], "seed=abc is of the wrong type"),
        (["data.split.train=most"], "data.split.train=most is of the wrong type; give it a value of type float or int"),
        (["weights.hessian=heavy"], "weights.hessian=heavy is of the wrong type"),
        (["optimizer.weight_decay=null"], "optimizer.weight_decay=None is of the wrong type"),
        (["data=iodine", "data.workers=many"], "data.workers=many is of the wrong type"),
        (["data=iodine", "+data.wrokers=1"], r"there is no option data.wrokers; did you mean workers\?"),
        (["+data.expectd_size=1"], r"there is no option data.expectd_size; did you mean expected_size\?"),
        (["+student.widht=3"], r"there is no option student.widht; did you mean width\?"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_the_annotation_of_what_takes_it(arguments, said):
    with pytest.raises(ConfigError, match=said):
        check_values(composed(*arguments))


def test_values_that_their_annotations_allow_are_let_through():
    config = composed(
        "trainer.devices=auto",
        "+trainer.precision=32",
        "trainer.max_epochs=null",
        "optimizer.lr=1",
        "student.cutoff=5",
        "data.reference_energies={H: -13.6}",
        "logger=wandb",
        "teacher=mace_off",
    )
    check_values(config)


def instantiated(target: str, **values) -> Exception:
    with pytest.raises(InstantiationException) as caught:
        hydra.utils.instantiate(OmegaConf.create({"student": {"_target_": target, **values}}).student)
    return caught.value


def test_a_value_that_somebody_elses_class_refuses_is_the_users_mistake():
    mistake = as_mistake(instantiated("fractions.Fraction", numerator="a"))
    assert isinstance(mistake, ConfigError)
    assert "student: Invalid literal for Fraction" in str(mistake)


def test_a_user_error_below_other_errors_is_found():
    mistake = as_mistake(instantiated("jointkd.data.readers.extxyz.read", path="missing.xyz"))
    assert isinstance(mistake, DataError)


def test_a_place_that_the_user_may_not_use_is_the_users_mistake():
    mistake = as_mistake(PermissionError(13, "Permission denied", "/nowhere/runs"))
    assert "Permission denied: '/nowhere/runs'; see to its permissions" in str(mistake)


def test_a_folder_within_a_file_is_the_users_mistake(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as error:
        (tmp_path / "file" / "run").mkdir()
    assert re.search("Not a directory: '.*/file/run'; see to .* or name another place", str(as_mistake(error.value)))


@pytest.mark.parametrize("error", [KeyError("forces"), TypeError("ours"), AttributeError("ours")])
def test_our_own_bugs_are_not_hidden(error):
    assert as_mistake(error) is None


def test_a_bug_in_what_we_build_is_not_hidden():
    assert as_mistake(instantiated("jointkd.structures.batch.collate", structures=3)) is None


def test_help_that_nobody_reads_to_its_end_is_no_error(tmp_path):
    asked = [sys.executable, "-m", "jointkd.train", "--help"]
    with subprocess.Popen(asked, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""


def test_help_comes_quickly_because_torch_is_not_imported(tmp_path):
    asked = [sys.executable, "-X", "importtime", "-m", "jointkd.train", "--help"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert done.returncode == 0
    assert "python -m jointkd.train data=extxyz data.path=mine.xyz" in done.stdout
    assert "method=     atomic_energy | hessian | joint | none" in done.stdout
    assert "hydra" in imported
    assert not imported & {"torch", "lightning", "ase", "numpy"}
    assert not list(tmp_path.iterdir())

"""Every configuration composes, has the paper's numbers, and refuses unknown options with a one-line error."""

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
REQUIRED = {
    "data": {"path": "mine.xyz"},
    "teacher": {
        "checkpoint": "a.model",
        "checkpoints": "[a.model,b.model]",
        "task": "omol",
        "run": "outputs/mine",
        "calculator": "ase.calculators.emt.EMT",
    },
}


@pytest.mark.parametrize(("group", "choice"), EVERYTHING)
def test_every_choice_of_every_group_composes_and_resolves(group, choice):
    text = (CONF / group / f"{choice}.yaml").read_text()
    required = {name: value for name, value in REQUIRED.get(group, {}).items() if f"\n{name}: ???" in text}
    options = [f"{group}.{name}={value}" for name, value in required.items()]
    data = ["data=monomers"] if (group, choice) == ("teacher", "paper") else []
    config = composed(f"{group}={choice}", *data, *options)
    OmegaConf.resolve(config)
    assert not OmegaConf.missing_keys(config)


def test_all_groups_are_discovered():
    assert {"data", "method", "student", "teacher", "trainer", "logger", "recipe"} <= {group for group, _ in EVERYTHING}
    assert not [choice for _, choice in EVERYTHING if choice.startswith("_")]


@pytest.mark.parametrize("method", choices("method"))
def test_a_method_is_one_choice(method):
    config = composed(f"method={method}")
    assert config.method.name == method
    assert config.name == f"demo_painn_{method}_seed0"


def test_the_recipe_of_the_example_is_used_for_the_example_alone():
    own = composed("data=extxyz", "data.path=mine.xyz", "student=painn")
    example = composed("data=demo", "student=painn")
    assert own.student.width == 128
    assert example.student.width < 128
    assert example.student.conservative


def test_the_defaults_are_the_numbers_of_the_paper():
    config = composed("method=joint", "data=extxyz", "data.path=mine.xyz")
    weights = {name: term.weight for name, term in config.method.terms.items()}
    assert weights == {"energy": 5, "forces": 100, "stress": 0, "atomic_energy": 20, "hessian": 400}
    optimizer = config.optimizer
    assert (optimizer.lr, optimizer.weight_decay, optimizer.eps, optimizer.amsgrad) == (1e-3, 2e-6, 1e-7, True)
    assert config.trainer.gradient_clip_val == 10
    assert config.callbacks.ema.decay == 0.999
    plateau = config.schedulers[config.schedule]
    assert plateau._target_.endswith("ReduceLROnPlateau")
    assert (plateau.factor, plateau.patience, plateau.min_lr) == (0.8, 10, 5e-6)
    student = config.student
    assert (student.width, student.layers, student.radial, student.cutoff) == (128, 4, 128, 12.0)


def test_methods_differ_in_the_terms_with_a_weight():
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
    ("arguments", "message"),
    [
        (["method=jiont"], r"there is no method=jiont; did you mean joint\?"),
        (["method=none,jiont"], r"there is no method=jiont; did you mean joint\?"),
        (["logger=[csv,wandbb]"], r"there is no logger=wandbb; did you mean wandb\?"),
        (["trainer.max_epochz=3"], r"no option trainer.max_epochz; did you mean trainer.max_epochs\?"),
        (["data.units.enrgy=eV"], r"no option data.units.enrgy; did you mean data.units.energy\?"),
        (["weigths.hessian=3"], r"no option weigths.hessian; did you mean weights.hessian\?"),
        (["metod=joint"], r"no option metod; did you mean method\?"),
        (["~loger"], r"no option loger"),
        (["trainer.precision=16-mixed"], r"\+trainer.precision=… adds a parameter of lightning.Trainer"),
        (["+foo.bar=3"], r"there is no option foo.bar, and nothing would read it; \+NODE.NAME=… adds a parameter"),
        (["+label.rowz=3"], r"there is no option label.rowz, and nothing would read it"),
        (["method"], r"method cannot be read; write method=…, with one of atomic_energy, hessian, joint, none"),
        (["painn"], r"painn cannot be read; write student=painn"),
        (["overwrite=maybe"], r"overwrite=maybe must be true or false; give overwrite=true or overwrite=false"),
        (["label.validation=1"], r"label.validation=1 must be true or false"),
        (["b.xyz"], r"b.xyz cannot be read; write options as name=value, and around one with a space quotes"),
        (["student=PaiNN"], r"there is no student=PaiNN; did you mean painn\?"),
        (["teacher=MACE-OFF"], r"there is no teacher=MACE-OFF; did you mean mace_off\?"),
        (["data=my.xyz"], r"there is no data=my.xyz; a file is given as data=extxyz data.path=my.xyz; else choose one"),
        (["teacher=a/b.model"], r"a file is given as teacher=mace teacher.checkpoint=a/b.model"),
        (["student=outputs/mine"], r"a file is given as finetune=outputs/mine"),
        (["student=[painn,gemnet_dt]"], r"must be one choice; give one of them, or -m student=painn,gemnet_dt for a"),
        (["seed=[1"], r"seed=\[1 cannot be read .* quote it, as 'seed=\"\[1\"'"),
        (["data=null"], r"there is no data=null; choose one of bandgap5"),
        (
            ["data=extxyz", "data.path=[a.xyz,b.xyz]"],
            r"data.path=\[a.xyz,b.xyz\] must be one path; give a folder, or a",
        ),
        (["data.path=mine.xyz"], r"data.path=mine.xyz is not a file of data=demo; add data=extxyz"),
        (["teacher.checkpoint=a.model"], r"teacher.checkpoint=a.model is not a file of teacher=demo; add teacher=mace"),
        (["data=extxyz"], r"data.path is not set; give data.path=…"),
        (["teacher=mace"], r"teacher.checkpoint is not set"),
    ],
)
def test_a_misspelt_or_missing_option_is_named_with_the_nearest_one(arguments, message):
    with pytest.raises(ConfigError, match=message) as caught:
        check_overrides("train", arguments)
    assert "\n" not in str(caught.value)


def test_an_option_of_a_group_of_which_nothing_is_chosen_names_the_choices():
    with pytest.raises(ConfigError, match=r"teacher\.run belongs to a teacher, and none is chosen; add teacher=…"):
        check_overrides("evaluate", ["run=a.safetensors", "teacher.run=b.safetensors"])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["method=none,hessian,joint", "seed=range(0,3)"],
        ["method=glob(*)"],
        ["logger=[csv,wandb]"],
        ["+callbacks.mine._target_=builtins.dict", "+optimizer.foreach=false", "++seed=3", "+task=1,2"],
        ["~logger", "+trainer.precision=16-mixed", "hydra.run.dir=somewhere"],
        ["data.reference_energies={H: -13.6, O: -2040}", "experiment=demo", "teacher=none"],
        ["method.terms.atomic_energy.weight=0,1,10"],
    ],
)
def test_valid_overrides_of_hydra_are_accepted(arguments):
    check_overrides("train", arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trainer.max_epochs=abc"], "trainer.max_epochs=abc is of the wrong type; give it a value of type int"),
        (["trainer.max_epochs=1.5"], "trainer.max_epochs=1.5 is of the wrong type"),
        (["student.width=foo"], "student.width=foo is of the wrong type; give it a value of type int"),
        (["student.conservative=3"], "student.conservative=3 is of the wrong type"),
        (["data.batch_size=many"], "data.batch_size=many is of the wrong type"),
        (["seed=abc"], "seed=abc is of the wrong type"),
        (["seed=[0,1]"], r"seed=\[0, 1\] is of the wrong type; .* or -m seed=0,1 for a run of each"),
        (["optimizer.lr=fast"], "optimizer.lr=fast is of the wrong type; give it a value of type float or int"),
        (["data.split.train=most"], "data.split.train=most is of the wrong type; give it a value of type float or int"),
        (["weights.hessian=heavy"], "weights.hessian=heavy is of the wrong type"),
        (["optimizer.weight_decay=null"], "optimizer.weight_decay=None is of the wrong type"),
        (["optimizer=sgd"], "optimizer=sgd must be a group of options; set optimizer._target_, optimizer._partial_, "),
        (["callbacks.ema=null"], "callbacks.ema=null must be a group of options; ~callbacks.ema leaves it out"),
        (["~optimizer"], "~optimizer removes options that are needed; leave it out of the command"),
        (["weights.forces=nan"], "weights.forces=nan is not a number"),
        (["data.max_force=nan"], "data.max_force=nan is not a number"),
        (["data=iodine", "data.workers=many"], "data.workers=many is of the wrong type"),
        (["data=iodine", "+data.wrokers=1"], r"there is no option data.wrokers; did you mean workers\?"),
        (["+data.expectd_size=1"], r"there is no option data.expectd_size; did you mean expected_size\?"),
        (["+student.widht=3"], r"there is no option student.widht; did you mean width\?"),
    ],
)
def test_a_value_of_another_type_than_its_parameter_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        check_values(composed(*arguments))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "student._target_=nowhere.Net",
            r"student._target_=nowhere.Net cannot be imported \(.*No module named 'nowhere'",
        ),
        ("data._target_=Net", "data._target_=Net cannot be imported"),
        ("student._target_=jointkd.errors", "student._target_=jointkd.errors cannot be called"),
        ("optimizer._target_=torch.optim.AdamV", "optimizer._target_=torch.optim.AdamV cannot be imported"),
    ],
)
def test_a_target_that_is_no_class_is_named(option, message):
    with pytest.raises(ConfigError, match=message) as caught:
        check_values(composed(option))
    assert "\n" not in str(caught.value)


def test_values_of_the_right_types_are_accepted():
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


def test_a_value_that_a_class_of_another_package_refuses_is_the_users_mistake():
    mistake = as_mistake(instantiated("fractions.Fraction", numerator="a"))
    assert isinstance(mistake, ConfigError)
    assert "student: Invalid literal for Fraction" in str(mistake)


def test_a_user_error_that_caused_other_errors_is_found():
    mistake = as_mistake(instantiated("jointkd.data.readers.extxyz.read", path="missing.xyz"))
    assert isinstance(mistake, DataError)


def test_a_folder_without_permission_is_the_users_mistake():
    mistake = as_mistake(PermissionError(13, "Permission denied", "/nowhere/runs"))
    assert "Permission denied: '/nowhere/runs'; see to its permissions" in str(mistake)


def test_a_folder_within_a_file_is_the_users_mistake(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as error:
        (tmp_path / "file" / "run").mkdir()
    assert re.search("Not a directory: '.*/file/run'; see to .* or name another place", str(as_mistake(error.value)))


@pytest.mark.parametrize("error", [KeyError("forces"), TypeError("ours"), AttributeError("ours")])
def test_bugs_are_not_reported_as_mistakes(error):
    assert as_mistake(error) is None


def test_a_bug_in_a_class_of_jointkd_is_not_reported_as_a_mistake():
    assert as_mistake(instantiated("jointkd.structures.batch.collate", structures=3)) is None


def test_a_closed_output_of_help_is_not_an_error(tmp_path):
    line = [sys.executable, "-m", "jointkd.train", "--help"]
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""


def test_help_does_not_import_torch(tmp_path):
    line = [sys.executable, "-X", "importtime", "-m", "jointkd.train", "--help"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert done.returncode == 0
    assert "python -m jointkd.train data=extxyz data.path=mine.xyz" in done.stdout
    assert "method=     atomic_energy | hessian | joint | none" in done.stdout
    assert "hydra" in imported
    assert not imported & {"torch", "lightning", "ase", "numpy"}
    assert not list(tmp_path.iterdir())

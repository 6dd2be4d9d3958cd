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
        (["method=none", "method.trust=auto"], "method.trust=auto is not used with method=none"),
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
        (["label.probes=4", "label.rows=8"], "label.rows=8 is not used with label.probes=4, which training"),
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


@pytest.mark.parametrize("completed", ["data.missing=teacher", "data.unlabelled=new.xyz"])
def test_trust_is_used_without_terms_of_the_teacher_where_it_completes_the_data(completed):
    given = ["method=none", "method.trust=constant", completed]
    assert not list(describe_unused(composed(*given), given))


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["how=rattle", "steps=9"], "steps=9 is not used with how=rattle"),
        (["relax=9"], "relax=9 is not used with how=dynamics"),
        (["device=cpu"], "device=cpu is not used with with=teacher"),
        (["with=RUN", "rounds=2", "data=iodine"], "data=iodine is not used with rounds=2, which take those of the run"),
        (
            ["with=RUN", "rounds=2", "teacher.device=cpu"],
            "teacher.device=cpu is not used with rounds=2, which take those of the run",
        ),
    ],
)
def test_options_of_the_other_way_of_sampling_are_named(given, line):
    assert describe_unused(composed("output=new.xyz", *given, command="sample"), given) == [line]
    used = ["with=FOLDER", "device=cpu", "steps=9", "temperatures=[300]"]
    assert describe_unused(composed("output=new.xyz", *used, command="sample"), used) == []


def test_options_that_are_used_are_not_named():
    given = ["method=joint", "weights.hessian=3", "hessian.rows=2", "label.rows=4", "data.split.by=file", "seed=1"]
    assert not describe_unused(composed(*given), given)
    assert not describe_unused(composed("method=none"), ["method=none"])


def test_friction_belongs_to_one_ensemble():
    assert describe_unused(OmegaConf.create({"ensemble": "nve"}), ["friction=1"])
    assert not describe_unused(OmegaConf.create({"ensemble": "nvt"}), ["friction=1"])


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["structures=a.xyz", "checkpoint=last"], "checkpoint=last is not used with structures=…, on which"),
        (["structures=a.xyz", "data.path=b.xyz"], "data.path=b.xyz is not used with structures=…, on which"),
        (["structures=a.xyz", "label.path=a"], "label.path=a is not used with structures=…, on which"),
        (["hull=0"], "hull=0 is not used with the run's own test split: give structures=FILE"),
        (["output=a.xyz"], "output=a.xyz is not used with the run's own test split: give structures=FILE"),
        (["data.energy_key=e"], "data.energy_key=e is not used with the run's own test split: give structures=FILE"),
    ],
)
def test_options_of_the_other_kind_of_evaluation_are_named(given, line):
    (described,) = describe_unused(composed("run=a", *given, command="evaluate"), given)
    assert described.startswith(line)


def test_options_of_an_evaluation_of_structures_are_used():
    given = ["run=a", "structures=a.xyz", "output=b.xyz", "plot=c.png", "seed=1", "data.units.energy=meV", "trust=a"]
    assert not describe_unused(composed(*given, command="evaluate"), given)


def test_where_data_and_labels_are_is_used_where_atomic_energies_are_compared():
    given = ["structures=a.xyz", "data.path=b.xyz", "label.path=c", "atomic_energies=true"]
    assert not describe_unused(composed("run=a", *given, command="evaluate"), given)


@pytest.mark.parametrize(
    ("command", "given", "line"),
    [
        (
            "simulate",
            ["sample=5", "index=all"],
            "index=all is not used with sample=…, which draws structures at random",
        ),
        ("simulate", ["structures=a.xyz", "save=9"], "save=9 is not used with one structure: only simulations of"),
        ("accept", ["structures=a.xyz", "data.path=b.xyz"], "data.path=b.xyz is not used with structures=…, which is"),
        (
            "accept",
            ["teacher=none", "against_teacher.frames=5"],
            "against_teacher.frames=5 is not used with teacher=none",
        ),
    ],
)
def test_options_of_dynamics_that_others_overrule_are_named(command, given, line):
    (described,) = describe_unused(composed("run=a", *given, command=command), given)
    assert described.startswith(line)


@pytest.mark.parametrize("several", ["structures=null", "sample=2", "index=all", "seed=[0,1]", "run=[a,b]"])
def test_simulations_of_several_structures_are_saved(several):
    given = ["run=a", "structures=a.xyz", several, "save=9"]
    assert not describe_unused(composed(*given, command="simulate"), given)


def test_options_of_an_acceptance_are_used():
    given = ["run=a", "structures=a.xyz", "teacher=demo", "against_teacher.frames=5", "stability.time=2"]
    assert not describe_unused(composed(*given, command="accept"), given)


@pytest.mark.parametrize(
    ("command", "given", "line"),
    [
        ("scan", ["structure=a.xyz", "fmax=0.1"], "fmax=0.1 is not used with relax=false"),
        ("scan", ["structure=a.xyz", "planes=[[1,2]]"], "planes=[[1,2]] is not used with structure=…"),
        (
            "scan",
            ["structure=a.xyz", "reference=a.csv", "energy_key=e"],
            "energy_key=e is not used with energies of a table",
        ),
        ("scan", ["slices=a.xyz", "steps=12"], "steps=12 is not used with slices, which have structures"),
        ("scan", ["slices=a.xyz", "relax=true"], "relax=true is not used with slices, whose structures"),
        ("spectrum", ["structures=a.xyz", "length=1"], "length=1 is not used with along=turns"),
        ("spectrum", ["structures=a.xyz", "along=lines", "atom=1"], "atom=1 is not used with along=lines"),
    ],
)
def test_options_of_other_scans_and_paths_are_named(command, given, line):
    (described,) = describe_unused(composed(*given, command=command), given)
    assert described.startswith(line)


def test_options_that_scans_and_paths_use_are_not_named():
    for command, given in (
        ("scan", ["structure=a.xyz", "relax=true", "fmax=0.1", "reference=a.xyz", "energy_key=e"]),
        ("scan", ["slices=a.xyz", "planes=[[1,2]]", "energy_key=e"]),
        ("spectrum", ["structures=a.xyz", "along=translations", "atom=1", "vector=[1,0,0]"]),
    ):
        assert not describe_unused(composed(*given, command=command), given)

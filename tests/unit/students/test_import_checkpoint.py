"""Checkpoints of the prior art become students with the same predictions, or are refused in one line."""

import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from jointkd.errors import ConfigError, DataError
from jointkd.students.derivatives import predict
from jointkd.students.gemnet import GemNet
from jointkd.students.import_fairchem import import_checkpoint
from jointkd.students.painn import PaiNN
from jointkd.students.student_file import load_student, load_weights, read_student
from tests.fairchem import checkpoint_of, loaded, names_of_gemnet, names_of_painn, reference, small_student
from tests.structures import MOLECULES, SALT, batch_of

MODELS = [("painn", False), ("painn", True), ("gemnet_t", False), ("gemnet_t", True)]
IDS = ["painn", "painn-conservative", "gemnet_dt", "gemnet_t"]


def predictions(student):
    result = predict(student, batch_of(*MOLECULES, SALT), torch.zeros(4, 1, dtype=torch.long))
    return torch.stack([result.atomic_energies]), result.forces, result.hessian_rows


def agree(one, other, energy=1.0, forces=1.0):
    factors = (energy, forces, forces)
    return all(
        torch.allclose(factor * a, b, rtol=1e-12, atol=1e-13)
        for factor, a, b in zip(factors, predictions(one), predictions(other), strict=True)
    )


@pytest.fixture(params=MODELS, ids=IDS)
def student(request):
    return small_student(*request.param)


def test_an_imported_student_predicts_the_same(student, tmp_path):
    assert agree(student, loaded(checkpoint_of(student), tmp_path))


def test_the_file_says_which_student_it_is(tmp_path):
    student = small_student("gemnet_t", conservative=False, dtype=torch.float32)
    again = loaded(checkpoint_of(student), tmp_path)
    saved = read_student(tmp_path / "student.safetensors")
    assert saved.config == {
        "_target_": "jointkd.students.gemnet.GemNet",
        "width": 16,
        "blocks": 2,
        "radial": 5,
        "spherical": 4,
        "cutoff": 4.0,
        "max_neighbors": 30,
        "conservative": False,
        "elements": 20,
    }
    assert saved.origin["file"] == "checkpoint.pt"
    assert again.embedding.weight.dtype == torch.float32
    with safe_open(tmp_path / "student.safetensors", "pt") as file:
        assert set(file.metadata()) == {"student", "reference_energies", "origin", "undetermined", "jointkd_format"}


def test_an_older_config_names_the_model_apart_from_its_settings(student, tmp_path):
    checkpoint = checkpoint_of(student)
    settings = checkpoint["config"].pop("model")
    checkpoint["config"] |= {"model": settings.pop("name"), "model_attributes": settings}
    checkpoint["state_dict"] = {name.removeprefix("module."): w for name, w in checkpoint["state_dict"].items()}
    assert agree(student, loaded(checkpoint, tmp_path))


def averaged(student):
    """A checkpoint whose last weights are twice its average, which is the student's."""
    checkpoint = checkpoint_of(student)
    shadow = []
    for name, weight in checkpoint["state_dict"].items():
        if not name.endswith(("scale_factor", "rbf.offset")) and ".seq_energy." not in name:
            shadow.append(weight.clone())
            weight *= 2
    checkpoint["ema"] = {"decay": 0.999, "num_updates": None, "shadow_params": shadow, "collected_params": []}
    return checkpoint


def test_the_running_average_is_taken_unless_the_last_weights_are_asked_for(student, tmp_path):
    assert agree(student, loaded(averaged(student), tmp_path))
    last = loaded(averaged(student), tmp_path, ema=False)
    assert torch.equal(last.embedding.weight, 2 * student.embedding.weight)


def test_scales_that_were_never_fitted_are_one(student, tmp_path):
    checkpoint = checkpoint_of(student)
    for name, weight in checkpoint["state_dict"].items():
        if name.endswith("scale_factor"):
            weight.zero_()
    for name, weight in student.state_dict().items():
        if name == "scales" or name.endswith("factor"):
            weight.fill_(1.0)
    assert agree(student, loaded(checkpoint, tmp_path))


@pytest.mark.parametrize(("energy", "forces"), [("energy", "forces"), ("target", "grad_target")])
@pytest.mark.parametrize("spread", ["rmsd", "std"])
def test_normalisers_scale_energies_and_forces(student, energy, forces, spread, tmp_path):
    of_forces = 2.5 if student.conservative else 0.5
    normalizers = {
        energy: {"mean": torch.tensor(0.0), spread: torch.tensor(2.5)},
        forces: {"mean": torch.tensor(0.0), spread: torch.tensor(of_forces)},
    }
    again = loaded(checkpoint_of(student, normalizers=normalizers), tmp_path)
    assert agree(student, again, 2.5, of_forces)


DISAGREE = {
    "energy": {"mean": torch.tensor(0.0), "rmsd": torch.tensor(0.5)},
    "forces": {"mean": torch.tensor(0.0), "rmsd": torch.tensor(1.0)},
}


@pytest.mark.parametrize(("scale", "factor"), [("energy", 0.5), ("forces", 1.0)])
def test_a_conservative_student_follows_the_normaliser_that_is_chosen(scale, factor, tmp_path):
    student = small_student("gemnet_t", conservative=True)
    again = loaded(checkpoint_of(student, normalizers=DISAGREE), tmp_path, scale=scale)
    assert agree(student, again, factor, factor)


def test_reference_energies_are_kept_and_printed_as_an_option(command, tmp_path):
    references = torch.zeros(119)
    references[[1, 8]] = torch.tensor([-13.5, -2040.25])
    checkpoint = checkpoint_of(
        small_student("painn", conservative=False), elementrefs={"energy": {"element_references": references}}
    )
    torch.save(checkpoint, tmp_path / "best.pt")
    done = command("import_checkpoint", "checkpoint=best.pt", "output=made/student.safetensors")
    assert done.status == 0, done.err
    assert "data.reference_energies={H: -13.5, O: -2040.25}" in done.out
    assert "max_neighbors=30 is kept" in done.out
    assert "written to made/student.safetensors" in done.out
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["best.pt", "made", "student.safetensors"]
    assert read_student(tmp_path / "made" / "student.safetensors").reference_energies == {1: -13.5, 8: -2040.25}


def changed(name="gemnet_t", conservative=False, settings=None, state=None, drop="", **more):
    """A checkpoint with other settings or weights, or without those whose name contains `drop`."""
    checkpoint = checkpoint_of(small_student(name, conservative), **more)
    checkpoint["config"]["model"] |= settings or {}
    checkpoint["state_dict"] |= state or {}
    if drop:
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if drop not in k}
    return checkpoint


def short_average():
    checkpoint = averaged(small_student("painn", conservative=False))
    checkpoint["ema"]["shadow_params"].pop()
    return checkpoint


MEAN = {"energy": {"mean": torch.tensor(-3.0), "rmsd": torch.tensor(2.0)}}
WRONG = {
    "a model of another kind": (partial(changed, settings={"name": "schnet"}), "is of model schnet; only painn and"),
    "a backbone with heads": (partial(changed, settings={"name": "hydra"}), "is of model hydra; only painn and"),
    "another size": (
        partial(changed, settings={"emb_size_trip": 64}),
        "the model setting emb_size_trip=64 is not supported; students support only emb_size_trip=8",
    ),
    "another number of layers": (partial(changed, settings={"num_atom": 3}), "students support only num_atom=2"),
    "another basis": (
        partial(changed, name="painn", settings={"rbf": {"name": "bernstein"}}),
        "rbf={'name': 'bernstein'} is not supported; students support only rbf={'name': 'gaussian'}",
    ),
    "another envelope": (
        partial(changed, settings={"envelope": {"name": "exponential"}}),
        "students support only envelope={'name': 'polynomial', 'exponent': 5}",
    ),
    "another activation": (partial(changed, settings={"activation": "siqu"}), "students support only activation=silu"),
    "no forces": (partial(changed, settings={"regress_forces": False}), "students support only regress_forces=True"),
    "an unknown setting": (
        partial(changed, settings={"qint_tags": [1]}),
        "the model setting qint_tags=[1] is not supported",
    ),
    "a missing size": (partial(changed, settings={"num_radial": None}), "no model setting num_radial; add"),
    "an energy that is not a sum": (
        partial(changed, normalizers=MEAN),
        "its normaliser of energy has mean -3.0, std 2.0, but a constant per structure is not a sum over atoms, as the "
        "energy of a student is",
    ),
    "forces that are no gradient": (
        partial(changed, conservative=True, normalizers=DISAGREE),
        "its normalisers are 0.5 for energy and 1 for forces",
    ),
    "a missing weight": (
        partial(changed, drop="int_blocks.1.dense_ca"),
        "lacks 1 of 100 weights of the student, first interactions.1.skip.weight; only an unchanged model of",
    ),
    "a surplus weight": (
        partial(changed, state={"module.module.n2n_mapping.weight": torch.ones(2)}),
        "has 1 weights that the student does not have, first n2n_mapping.weight; only an unchanged model of",
    ),
    "a weight of another shape": (
        partial(changed, state={"module.module.mlp_rbf_h.linear.weight": torch.ones(4, 6)}),
        "mlp_rbf_h.linear.weight has shape [4, 6], but must have [4, 5]",
    ),
    "another average": (short_average, "its running average has 42 parameters, which do not fit the 43 of the model"),
    "a weight that is not finite": (
        partial(changed, state={"module.module.mlp_rbf_h.linear.weight": torch.full((4, 5), torch.nan)}),
        "mlp_rbf_h.linear.weight has values that are not finite; give an earlier checkpoint",
    ),
    "whole numbers": (
        partial(changed, state={"module.module.mlp_rbf_h.linear.weight": torch.ones(4, 5, dtype=torch.long)}),
        "mlp_rbf_h.linear.weight must be a tensor in single or double precision, but it is torch.int64",
    ),
    "a list for a weight": (
        partial(changed, state={"module.module.mlp_rbf_h.linear.weight": [1.0]}),
        "mlp_rbf_h.linear.weight must be a tensor in single or double precision, but it is list",
    ),
    "a size in words": (partial(changed, settings={"num_radial": "5"}), "radial='5' is of another type than"),
    "a normaliser that is not finite": (
        partial(changed, normalizers={"energy": {"mean": torch.tensor(0.0), "rmsd": torch.tensor(torch.inf)}}),
        "the normaliser of energy has values that are not finite",
    ),
    "a reference that is not finite": (
        partial(changed, elementrefs={"energy": {"element_references": torch.full((9,), torch.nan)}}),
        "a reference energy has values that are not finite",
    ),
    "normalisers in a list": (partial(changed, normalizers=[1]), "its entries are not those of a model"),
    "an average in words": (partial(changed, ema={"shadow_params": "none"}), "its entries are not those of a model"),
    "a weight without a name": (partial(changed, state={5: torch.ones(1)}), "its entries are not those of a model"),
    "no config": (
        lambda: {"state_dict": {"a": torch.ones(1)}},
        "is not a checkpoint of fairchem-core 1.x: it has no c",
    ),
    "one tensor": (lambda: torch.ones(3), "is not a checkpoint of fairchem-core 1.x: it holds a Tensor"),
    "code": (partial(changed, val_metrics=Path("a")), "can only be read by running code from it (pathlib"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_no_student_can_reproduce_is_refused(what, tmp_path):
    make, message = WRONG[what]
    with pytest.raises(DataError) as caught:
        loaded(make(), tmp_path)
    assert str(caught.value).startswith(f"DataError: checkpoint={tmp_path / 'checkpoint.pt'}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "student.safetensors").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a file"])
def test_a_file_that_is_no_checkpoint_is_refused(content, tmp_path):
    (tmp_path / "notes.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"is not a checkpoint of fairchem-core 1\.x: it was not written by torch"):
        import_checkpoint(str(tmp_path / "notes.txt"), str(tmp_path / "student.safetensors"))


def test_metrics_saved_as_numbers_of_numpy_need_no_code(tmp_path):
    student = small_student("painn", conservative=False)
    torch.save(checkpoint_of(student, val_metrics={"mae": np.float64(0.1), "n": np.int64(3)}), tmp_path / "metrics.pt")
    import_checkpoint(str(tmp_path / "metrics.pt"), str(tmp_path / "student.safetensors"))
    assert agree(student, load_student(tmp_path / "student.safetensors")[0])


def test_the_remedy_for_a_checkpoint_with_code_makes_one_without(tmp_path, monkeypatch):
    student = small_student("painn", conservative=False)
    torch.save(checkpoint_of(student, val_metrics=Path("a")), tmp_path / "code.pt")
    with pytest.raises(DataError) as caught:
        import_checkpoint(str(tmp_path / "code.pt"), str(tmp_path / "student.safetensors"))
    program = caught.value.remedy.split("convert it with ")[1].removesuffix(", and give plain.pt")
    monkeypatch.chdir(tmp_path)
    exec(program, {"torch": torch, "path": tmp_path / "code.pt"})
    import_checkpoint("plain.pt", "student.safetensors")
    assert agree(student, load_student(Path("student.safetensors"))[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["checkpoint=none.pt"], "DataError: checkpoint=none.pt does not exist; give a checkpoint of fairchem"),
        (["output=there"], "ConfigError: output=there exists already; name another file"),
        (["scale=0.5"], "ConfigError: scale=0.5 must be energy, forces or null; choose one of them"),
        (["ema=0.999"], "ConfigError: ema=0.999 must be true or false; give ema=true or ema=false"),
        (["raw=true"], "ConfigError: there is no option raw; the top level has checkpoint, output, ema, scale"),
    ],
)
def test_a_wrong_option_is_one_line(command, tmp_path, arguments, message):
    (tmp_path / "there").write_text("")
    torch.save(checkpoint_of(small_student("painn", conservative=False)), tmp_path / "best.pt")
    options = {"checkpoint": "best.pt", "output": "student.safetensors"}
    options |= dict(argument.split("=") for argument in arguments)
    done = command("import_checkpoint", *(f"{name}={value}" for name, value in options.items()))
    assert done.status == 1
    assert done.err.startswith(message)
    assert done.err.count("\n") == 1


@pytest.fixture
def file(tmp_path):
    loaded(checkpoint_of(small_student("painn", conservative=False, dtype=torch.float32)), tmp_path)
    return tmp_path / "student.safetensors"


ARGUMENTS = {"width": 16, "layers": 2, "radial": 5, "cutoff": 4.0, "elements": 20, "smooth": False}


def test_a_student_of_the_same_configuration_takes_the_weights(file, caplog):
    student = PaiNN(**ARGUMENTS)
    saved = load_weights(student, file)
    assert all(torch.equal(weight, saved.weights[name]) for name, weight in student.state_dict().items())
    assert "were trained with max_neighbors=30, but this student has None" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cutoff": 5.0}, "are of a student with cutoff=4.0, but this one has 5.0; set ++student.width=16 "),
        ({"smooth": True}, "are of a student with smooth=False, but this one has True; set "),
        ({"conservative": True}, "are of a student with conservative=False, but this one has True; set "),
        (
            {"layers": 3},
            "weights of the student, first messages.2.norm.weight; set ++student.width=16 ++student.layers=2",
        ),
        ({"width": 8}, "are of a student with width=16, but this one has 8; set ++student.width=16"),
    ],
)
def test_a_student_of_another_configuration_is_told_which_it_should_be(file, change, message):
    with pytest.raises(ConfigError) as caught:
        load_weights(PaiNN(**ARGUMENTS | change), file)
    assert str(caught.value).startswith(f"ConfigError: student_weights={file}")
    assert message in str(caught.value)


def test_a_student_of_another_kind_is_refused(file):
    with pytest.raises(
        ConfigError, match=r"are of jointkd\.students\.painn\.PaiNN, but the student is jointkd\.students\.g"
    ):
        load_weights(GemNet(), file)


def test_a_file_of_something_else_is_refused(tmp_path):
    for name in ("none.safetensors", "."):
        with pytest.raises(DataError, match="does not exist"):
            load_student(tmp_path / name)
    save_file({"a": torch.ones(1)}, tmp_path / "plain.safetensors")
    (tmp_path / "text").write_text("no tensors")
    for name in ("plain.safetensors", "text"):
        with pytest.raises(DataError, match=f"{name} is not a student file"):
            load_student(tmp_path / name)
    metadata = {"student": json.dumps({"_target_": "os.system"}), "reference_energies": "{}", "origin": "{}"}
    save_file({"a": torch.ones(1)}, tmp_path / "harmful.safetensors", metadata)
    with pytest.raises(DataError, match=r"harmful\.safetensors names os\.system, which is not a class of jointkd"):
        load_student(tmp_path / "harmful.safetensors")


@pytest.mark.parametrize(("model", "names"), [("painn", names_of_painn()), ("gemnet_dt", names_of_gemnet())])
def test_the_checkpoints_of_these_tests_have_the_names_and_the_order_of_fairchem(model, names):
    deeper = re.compile(r"((message|update)_layers\.|upd_out_scalar_scale_|int_blocks\.)[23]\.|out_blocks\.[34]\.")
    assert [name for name in reference(model)["state_dict"] if not deeper.match(name)] == names

"""Exported students: the same results, a description that says where they hold, and no code without consent."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from jointkd.deploy import export as export_module
from jointkd.deploy import package as package_module
from jointkd.deploy import parity as parity_module
from jointkd.deploy.ase import JointKD
from jointkd.deploy.export import export
from jointkd.deploy.loaded import load
from jointkd.deploy.model import load_model
from jointkd.deploy.package import read_description
from jointkd.deploy.parity import compare, structures
from jointkd.deploy.tracing import trace
from jointkd.errors import ConfigError, DataError
from jointkd.files.atomic import file_sha256
from jointkd.simulation.doubt import doubt_of
from jointkd.students import operations
from jointkd.students.painn import PaiNN
from tests.structures import ETHANOL
from tests.uncertain import uncertainty_of, with_uncertainty
from tests.unit.deploy.test_ase import CONSERVATIVE, FREE, GEMNET, PAINN, student_file

SMALL = {**CONSERVATIVE[0], "layers": 1, "width": 4}
OWN = {"_target_": f"{__name__}.Mine"}
SYSTEMS = {
    "molecule": ETHANOL,
    "crystal": bulk("NaCl", "rocksalt", a=5.6, cubic=True),
    "one atom": Atoms("H"),
    "no edges": Atoms("H2", [[0, 0, 0], [50, 0, 0]]),
    "a cell of one atom": bulk("Na", "sc", a=3.5),
    "a large crystal": bulk("NaCl", "rocksalt", a=5.6, cubic=True) * 2,
}


class Mine(torch.nn.Module):
    """A student of the user's own class."""

    cutoff, max_neighbors, conservative, elements = 4.0, None, True, 8


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of a conservative student in float64 beside its student's file."""
    folder = tmp_path_factory.mktemp("exported")
    with_uncertainty(student_file(folder, SMALL))
    return export(str(folder), "exported", dtype="float64")


def same_results(package: Path, dtype: str, tolerance: float) -> None:
    """Compare all results of the calculators of a package and of the student's file beside it."""
    ours, theirs = load(package, trust=True).ase(), JointKD(package.parent, dtype=dtype)
    assert ours.implemented_properties == theirs.implemented_properties
    for atoms in SYSTEMS.values():
        atoms = atoms.copy()
        atoms.rattle(0.05, seed=1)
        for calculator in (ours, theirs):
            calculator.calculate(atoms)
        assert ours.results.keys() == theirs.results.keys()
        for name, expected in theirs.results.items():
            np.testing.assert_allclose(
                ours.results[name], expected, rtol=1e-7, atol=tolerance * scale_of(name, expected)
            )


def scale_of(name: str, expected: np.ndarray) -> float:
    """1, and of uncertainties the largest that is finite: these are large where no student was trained."""
    return max([1.0, *expected[np.isfinite(expected)]]) if name == "force_uncertainty" else 1.0


def test_a_package_has_the_students_results_for_all_sizes(exported):
    same_results(exported, "float64", 1e-9)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({**PAINN, "layers": 1, "width": 4}, id="painn with a force head"),
        pytest.param({**CONSERVATIVE[1], "spherical": 2}, id="gemnet_t", marks=pytest.mark.slow),
        pytest.param({**GEMNET, "spherical": 2}, id="gemnet_dt", marks=pytest.mark.slow),
    ],
)
def test_every_student_is_exported(tmp_path, config):
    with_uncertainty(student_file(tmp_path, config))
    same_results(export(str(tmp_path), "exported", dtype="float64"), "float64", 1e-9)


@pytest.mark.slow
def test_a_compiled_library_has_the_students_results_for_all_sizes(tmp_path):
    with_uncertainty(student_file(tmp_path, SMALL))
    same_results(export(str(tmp_path), "aoti"), "float32", 1e-4)


@pytest.mark.slow
def test_compiled_kernels_have_the_students_results_for_all_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "FASTEST", {"cpu": "kernels"})  # for want of a GPU
    with_uncertainty(student_file(tmp_path, SMALL))
    package = export(str(tmp_path), None)
    assert package.name == "student.kernels.pt2"
    same_results(package, "float32", 1e-4)


@pytest.mark.parametrize(("device", "to", "better"), [("cpu", "kernels", "aoti"), ("cuda", "aoti", "kernels")])
def test_a_form_that_is_not_for_the_device_is_refused(tmp_path, monkeypatch, device, to, better):
    monkeypatch.setattr(export_module, "device_of", lambda device: device)
    with pytest.raises(ConfigError, match=rf"to={to} is not for device={device}; choose to={better}"):
        export(str(student_file(tmp_path, SMALL)), to, device=device)


def test_a_package_describes_where_it_holds(exported):
    description = read_description(exported)
    assert description.torch == torch.__version__
    assert (description.device, description.dtype, description.cutoff) == ("cpu", "float64", 4.0)
    assert (description.hops, description.conservative, description.elements) == (1, True, 83)
    assert description.reference_energies == FREE
    assert description.student_sha256 == file_sha256(exported.parent / "student.safetensors")


def test_loading_a_package_needs_consent_and_reading_what_it_says_does_not(exported):
    described = load(exported)
    assert described.options == SMALL
    for opened in (described.ase, lambda: JointKD(exported), lambda: JointKD(exported, trust=["jointkd.students"])):
        with pytest.raises(
            DataError, match=r"is compiled code, .*; if you trust it, add trust=true \(from Python: trust"
        ):
            opened()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"torch": "1.0.0"}, r"was exported with 1\.0\.0, but this is .*; export it again here"),
        ({"processor": "VAX"}, r"was exported with VAX, but this is .*; export it again here"),
        ({"device": "cuda"}, "device=cuda is not here"),
    ],
)
def test_another_torch_processor_or_device_is_refused(exported, monkeypatch, changed, words):
    description = replace(read_description(exported), **changed)
    monkeypatch.setattr(package_module, "read_description", lambda path: description)
    with pytest.raises((DataError, ConfigError), match=words):
        JointKD(exported, trust=True)


def test_another_precision_than_the_packages_is_refused(exported):
    with pytest.raises(ConfigError, match=r"dtype=float32, but .* was exported with dtype=float64; set dtype=float64"):
        JointKD(exported, dtype="float32", trust=True)


def test_what_a_package_cannot_do_is_refused_in_a_line(exported):
    calculator = JointKD(exported, trust=True)
    with pytest.raises(DataError, match="the student was not trained on Si"):
        calculator.get_potential_energy(Atoms("Si"))
    with pytest.raises(ConfigError, match="an exported package has no Hessian; load the student's file"):
        calculator.get_hessian(ETHANOL)


def test_a_package_that_differs_from_its_student_is_not_written(tmp_path, monkeypatch):
    student_file(tmp_path, SMALL)
    monkeypatch.setattr(parity_module, "deviation", lambda *_: float("nan"))
    monkeypatch.setattr(export_module, "build", lambda model, to, archive, careful: write_stub(archive))
    monkeypatch.setattr(export_module, "load_package", lambda *_, **__: package_module.Package(None, None))
    with pytest.raises(ConfigError, match="the exported student differs by nan of the largest value for one atom"):
        export(str(tmp_path), "exported")
    assert [file.name for file in tmp_path.iterdir()] == ["student.safetensors"]


def test_a_form_whose_uncertainties_alone_differ_is_refused_and_one_without_them_is_not(tmp_path):
    model = load_model(with_uncertainty(student_file(tmp_path, SMALL)), "cpu", "float64", ())
    compare(model, model.form)
    compare(model, lambda *inputs: model.form(*inputs)[:3])  # that of metatomic
    for wrong in (lambda right: right + 1e-6 * right.amax(), lambda right: right * torch.nan):

        def form(*inputs: Any) -> Any:
            results = model.form(*inputs)
            own = torch.where(results.force_uncertainty.isinf(), 1.0, results.force_uncertainty)
            return results._replace(force_uncertainty=wrong(own))  # noqa: B023

        with pytest.raises(ConfigError, match=r"the exported student differs by .* of the largest value for"):
            compare(model, form)


def test_a_package_says_where_the_forces_of_replicas_are_uncertain(exported):
    model = load_model(exported, None, None, True)
    structures = [ETHANOL, Atoms("H"), SYSTEMS["crystal"]]
    doubt = doubt_of(str(exported), model, {}, 0.1)
    for found, atoms in zip(doubt.uncertainties(structures), structures, strict=True):
        expected = uncertainty_of(exported.parent / "student.safetensors", atoms)
        np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_a_package_of_a_student_that_does_not_say_how_uncertain_its_forces_are_does_not_either(tmp_path):
    student_file(tmp_path, SMALL)
    package = export(str(tmp_path), "exported", dtype="float64")
    assert not read_description(package).force_uncertainty
    calculator = JointKD(package, trust=True)
    calculator.calculate(ETHANOL)
    assert "force_uncertainty" not in calculator.implemented_properties
    assert "force_uncertainty" not in calculator.results


def test_a_library_that_the_compiler_makes_wrong_is_compiled_again_with_care(tmp_path, monkeypatch):
    student_file(tmp_path, SMALL)
    made: list[bool] = []

    def build(model, to, archive, careful):
        made.append(careful)
        write_stub(archive)

    monkeypatch.setattr(parity_module, "deviation", lambda form, *_: 1.0 if form is None and not made[-1] else 0.0)
    monkeypatch.setattr(export_module, "build", build)
    monkeypatch.setattr(export_module, "load_package", lambda *_, **__: package_module.Package(None, None))
    assert export(str(tmp_path), "aoti").exists()
    assert made == [False, True]


def write_stub(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("stub/data", "")


def test_a_file_that_only_claims_to_be_a_package_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as file:
        file.writestr("stub/extra/jointkd.json", json.dumps({"form": "aoti"}))
    with pytest.raises(DataError, match="is not a package of a student"):
        JointKD(tmp_path / "a.pt2", trust=True)


def test_no_kernel_of_training_is_in_a_package(tmp_path, monkeypatch):
    for size in ("SMALL_ACTIVATION", "SMALL_BASIS", "SMALL_PRODUCT"):  # whatever the size of the example
        monkeypatch.setattr(operations, size, 0)
    for kernel in ("scaled_silu", "Bands", "onednn"):
        monkeypatch.setattr(operations, kernel, None)
    model = load_model(student_file(tmp_path, SMALL), "cpu", "float64", ())
    *_, (_, example) = structures([1, 8], model.cutoff, "cpu", torch.float64)
    assert trace(cast(PaiNN, model.student), example).graph.nodes


@pytest.mark.parametrize(
    ("config", "options", "words"),
    [
        (SMALL, {"to": "onnx"}, "to=onnx is not known; choose one of aoti, kernels, exported, metatomic, none"),
        (SMALL, {"to": "exported", "output": "there.pt2"}, "there.pt2 exists already; name another file"),
        (OWN, {"to": "exported", "trust": OWN["_target_"]}, r"Mine, which cannot be exported; use the student's file"),
        (SMALL, {"to": "exported", "dtype": "float16"}, "dtype=float16 is not known"),
    ],
)
def test_options_that_are_not_right_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], options: dict[str, str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.pt2").touch()
    with pytest.raises(ConfigError, match=words):
        export(str(student_file(tmp_path, config)), **options)


def test_without_a_compiler_a_library_is_refused_with_the_other_form(tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "get_cpp_compiler", raise_invalid)
    with pytest.raises(ConfigError, match=r"to=aoti needs a C\+\+ compiler; install g\+\+ or clang, or choose to=exp"):
        export(str(student_file(tmp_path, SMALL)), "aoti")


def raise_invalid() -> str:
    raise export_module.InvalidCxxCompiler


def test_a_compiler_that_fails_is_an_error_that_names_the_other_form(tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise export_module.CppCompileError(["g++"], "no space left")

    monkeypatch.setattr(export_module, "trace", lambda *_: None)
    monkeypatch.setattr(export_module, "aoti_compile_and_package", fail)
    with pytest.raises(ConfigError, match=r"the C\+\+ compiler failed \(.+\); choose to=exported"):
        export(str(student_file(tmp_path, SMALL)), "aoti")
    assert [file.name for file in tmp_path.iterdir()] == ["student.safetensors"]

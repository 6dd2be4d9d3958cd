"""Students and packages of every format are read, with the results that they had, and those of later ones refused."""

import gzip
import json
import shutil
import zipfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from safetensors import safe_open
from safetensors.torch import save_file

from jointkd.deploy.ase import JointKD
from jointkd.deploy.loaded import load
from jointkd.deploy.package import FORMAT as PACKAGE
from jointkd.deploy.package import describe, processor, read_description
from jointkd.errors import DataError
from jointkd.students.student_file import FORMAT as STUDENT
from jointkd.students.student_file import read_student

FORMATS = Path(__file__).parents[2] / "fixtures" / "formats"
ANSWERS = json.loads((FORMATS / "answers.json").read_text())
LATER = f"has format 9, and this jointkd {version('jointkd')} reads formats up to"


@pytest.fixture(params=[1, 2])
def package(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """An archived package, unpacked."""
    file = tmp_path / f"package-{request.param}.pt2"
    with gzip.open(FORMATS / f"{file.name}.gz") as packed, file.open("wb") as content:
        shutil.copyfileobj(packed, content)
    return file


def check(calculator: JointKD, name: str) -> None:
    """That results are those that were recorded."""
    for said in ANSWERS[name]:
        atoms = Atoms(**said["atoms"], calculator=calculator)
        assert atoms.get_potential_energy() == pytest.approx(said["energy"], abs=1e-9, rel=0)
        np.testing.assert_allclose(atoms.get_forces(), said["forces"], rtol=0, atol=1e-9)
        assert ("force_uncertainty" in said) == ("force_uncertainty" in calculator.results)
        if "force_uncertainty" in said:
            np.testing.assert_allclose(calculator.results["force_uncertainty"], said["force_uncertainty"], rtol=1e-9)
        if "stress" in said:
            np.testing.assert_allclose(atoms.get_stress(), said["stress"], rtol=0, atol=1e-10)


def test_there_is_a_file_of_the_formats_that_are_written_now():
    assert f"student-{STUDENT}.safetensors" in ANSWERS
    assert f"package-{PACKAGE}.pt2.gz" in ANSWERS


@pytest.mark.parametrize("number", [2, 3])
def test_a_student_of_an_earlier_format_has_the_results_and_all_that_it_carried(number):
    file = FORMATS / f"student-{number}.safetensors"
    check(JointKD(file, dtype="float64"), file.name)
    saved = read_student(file)
    assert saved.reference_energies == {1: -13.0, 6: -1030.0, 8: -2040.0}
    assert saved.undetermined == ({1: 0.6, 6: 0.8},)
    assert saved.origin["bond_lengths"] == {"H1-O2": 0.97}


def test_a_package_has_its_results_where_it_holds_and_is_refused_in_one_line_elsewhere(package):
    described = read_description(package)
    assert package.stem == f"package-{described.jointkd_format}"
    assert described.force_uncertainty == (described.jointkd_format > 1)
    assert (described.form, described.dtype, described.hops, described.cutoff) == ("exported", "float64", 1, 4.0)
    assert described.undetermined == [{1: 0.6, 6: 0.8}]
    assert load(package).origin["data"] == "formats"
    if (described.torch, described.processor) == (torch.__version__, processor("cpu")):
        calculator = JointKD(package, trust=True)
        assert ("force_uncertainty" in calculator.implemented_properties) == described.force_uncertainty
        check(calculator, f"{package.name}.gz")
    else:
        with pytest.raises(DataError, match=r"was exported with .*, but this is .*; export it again here"):
            JointKD(package, trust=True)


def test_a_student_of_a_later_format_is_refused_in_one_line(tmp_path):
    with safe_open(FORMATS / "student-2.safetensors", framework="pt") as file:
        metadata = file.metadata() | {"jointkd_format": "9", "student": "of another kind"}
    save_file({"a": torch.ones(1)}, tmp_path / "later.safetensors", metadata)
    with pytest.raises(DataError, match=f"later.safetensors {LATER} {STUDENT}; upgrade it with pip install --upgrade"):
        load(tmp_path / "later.safetensors")


def test_a_package_of_a_later_format_is_refused_in_one_line(package, tmp_path):
    described = read_description(package)
    later = tmp_path / "later.pt2"
    with zipfile.ZipFile(later, "w") as archive:
        archive.writestr("student/version", "1")
    describe(later, replace(described, jointkd_format=9))
    with pytest.raises(DataError, match=f"later.pt2 {LATER} {PACKAGE}; upgrade it with pip install --upgrade"):
        load(later)

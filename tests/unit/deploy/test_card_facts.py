"""The facts of a model card come from the student's file and the folder of its run, and from nothing else."""

import json
from pathlib import Path

import pytest

from jointkd.deploy.card_facts import facts_of, recorded_beside
from jointkd.deploy.model_card import Gate, card_text
from jointkd.files.atomic import file_sha256
from jointkd.students.student_file import load_student, read_student, save_student
from tests.unit.deploy.test_ase import CONSERVATIVE, PAINN, student_file

ORIGIN = {
    **{"data": "mine", "student": "painn", "method": "joint", "teacher": "off", "seed": 3, "steps": 900},
    "teacher_card": {"licence": "MIT", "level_of_theory": "PBE", "citation": None, "elements": ["H"]},
    "test": {"force_mae_meV_per_A": 78.0},
}
SUMMARY = {**ORIGIN, "teacher_test": {"force_mae_meV_per_A": 42.0}}


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """A student's file in the folder of its run."""
    file = student_file(tmp_path, CONSERVATIVE[0])
    save_student(file, read_student(file)._replace(origin=ORIGIN, undetermined=({1: 1.0},)))
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    (tmp_path / "split.json").write_text(json.dumps({"keys": {"train": ["a", "b"], "val": [], "test": ["c"]}}))
    return file


def facts(file: Path):
    module, saved = load_student(file)
    return facts_of(saved, module, *recorded_beside(file, saved))


def test_a_students_file_and_its_run_have_all_facts(student):
    found = facts(student)
    assert (found.name, found.architecture, found.cutoff, found.hops) == ("mine_painn_joint", "PaiNN", 4.0, 2)
    assert found.parameters == sum(each.numel() for each in load_student(student)[0].parameters())
    assert found.precision == "float64"
    assert found.elements == (1, 6, 8, 11, 17, 22, 38)
    assert found.structures == {"train": 2, "val": 0, "test": 1}
    assert (found.teacher.name, found.teacher.licence, found.teacher.citation) == ("off", "MIT", "")
    assert (found.test, found.teacher_test) == (ORIGIN["test"], SUMMARY["teacher_test"])
    assert (found.conservative, found.repulsion, found.undetermined) == (True, False, ({1: 1.0},))
    assert (found.accepted, found.gates) == (None, None)


def test_a_file_alone_has_what_it_carries_and_the_rest_is_unknown(student, tmp_path):
    alone = student.rename(tmp_path / "alone.safetensors")
    for name in ("summary.json", "split.json"):
        (tmp_path / name).unlink()
    found = facts(alone)
    assert (found.teacher.name, found.test) == ("off", ORIGIN["test"])
    assert (found.structures, found.teacher_test, found.contents, found.reference) == ({}, {}, None, None)


@pytest.mark.parametrize("content", ['{"data": "other"}', json.dumps({**SUMMARY, "seed": 4}), "not JSON", "[]"])
def test_the_summary_of_another_student_or_a_damaged_one_is_not_taken(student, content):
    student.with_name("summary.json").write_text(content)
    student.with_name("acceptance.json").write_text('{"passed": true, "gates": []}')
    found = facts(student)
    assert (found.teacher_test, found.structures, found.accepted) == ({}, {}, None)


def test_what_a_run_records_of_its_training_data_is_taken(student):
    trained_on = {"structures": {"train": 7}, "contents": "3 atoms", "reference": "teacher", "energy_zero": "fitted"}
    save_student(student, read_student(student)._replace(origin={**ORIGIN, "trained_on": trained_on}))
    found = facts(student)
    assert (found.structures, found.contents, found.energy_zero) == ({"train": 7}, "3 atoms", "fitted")
    assert found.reference == "the teacher's"


@pytest.mark.parametrize(
    ("method", "reference", "taught"), [("none", "data", False), ("none", "teacher", True), ("joint", "data", True)]
)
def test_a_student_without_terms_of_the_teacher_learned_from_it_only_where_it_is_the_reference(
    student, method, reference, taught
):
    trained_on = {"method": method, "trained_on": {"reference": reference}}
    save_student(student, read_student(student)._replace(origin={**ORIGIN, **trained_on}))
    student.with_name("summary.json").unlink()
    assert facts(student).taught == taught


@pytest.mark.parametrize(
    "recorded", [{"trained_on": {"from_teacher": {"energies": 0, "forces": 4}}}, {"from_teacher": {"forces": 4}}]
)
def test_a_student_whose_data_a_teacher_completed_learned_from_it(student, recorded):
    recorded = {"method": "none", "trained_on": {"reference": "data"}, **recorded}
    save_student(student, read_student(student)._replace(origin={**ORIGIN, **recorded}))
    student.with_name("summary.json").unlink()
    found = facts(student)
    assert found.taught
    assert found.from_teacher["forces"] == 4


def test_an_acceptance_test_is_read_as_far_as_it_goes(student):
    gates = [
        {"name": "stable", "passed": True, "value": 10.0, "threshold": 5, "unit": "ps"},
        {"name": "drift", "passed": False, "value": None},
        "nonsense",
    ]
    student.with_name("acceptance.json").write_text(json.dumps({"passed": False, "gates": gates}))
    found = facts(student)
    assert found.accepted is False
    assert found.gates == (Gate("stable", True, "10 ps", "5 ps"), Gate("drift", False, "not measured", ""))


@pytest.mark.parametrize(("checksum", "of_it"), [("own", True), ("0" * 64, False)])
def test_an_acceptance_test_that_names_a_checksum_is_that_of_the_student_with_this_checksum(student, checksum, of_it):
    tested = f"run, sha256 {file_sha256(student) if checksum == 'own' else checksum}"
    student.with_name("acceptance.json").write_text(json.dumps({"passed": True, "gates": [], "student": tested}))
    assert facts(student).accepted == (True if of_it else None)
    student.with_name("summary.json").unlink()
    assert facts(student).accepted == (True if of_it else None)


def test_a_student_that_was_imported_says_from_where(student):
    origin = {"format": "fairchem-core 1.x", "file": "best.pt", "sha256": "ab12", "notes": []}
    save_student(student, read_student(student)._replace(origin=origin))
    found = facts(student)
    assert found.imported_from == "fairchem-core 1.x"
    assert found.origin == {"checkpoint": "best.pt", "SHA-256 of the checkpoint": "ab12"}
    assert "A machine-learned force field, trained with fairchem-core 1.x, for use with [jointkd]" in card_text(found)


def test_a_file_without_origin_and_references_has_a_card_too(tmp_path):
    found = facts(student_file(tmp_path, PAINN, {}))
    assert (found.name, found.elements, found.has_references, found.teacher) == ("student", (), False, None)

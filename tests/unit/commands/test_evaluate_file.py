"""python -m jointkd.evaluate structures=FILE: the student of a run, or of a file alone, on any structures."""

import re
import shutil
from pathlib import Path

import pytest
from ase.io import read, write

from jointkd.api import evaluate
from jointkd.commands.run_record import RunRecord
from jointkd.data.readers import extxyz
from jointkd.errors import ConfigError, DataError
from jointkd.students.student_file import load_student, save_student
from tests.unit.commands.test_evaluate import ANSWERS, LABELS, MADE, RUN, OwnPaiNN

STUDENT = RUN / "student.safetensors"
FILE = MADE / "molecules.xyz"


def test_errors_on_a_file_of_the_test_structures_are_those_of_the_test_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    of_split = evaluate(RUN, options={"data.path": str(FILE)})
    write(tmp_path / "test.xyz", structures_of_the_test_split())
    on_file = evaluate(STUDENT, structures="test.xyz").metrics
    for name in ("energy_mae_meV_per_atom", "energy_mae_meV", "force_mae_meV_per_A"):
        assert on_file[name] == pytest.approx(of_split[name], rel=1e-4)


def test_errors_against_the_teacher_on_the_test_structures_are_those_of_the_test_split(command, tmp_path):
    pytest.importorskip("mace")
    write(tmp_path / "test.xyz", structures_of_the_test_split())
    places = (f"data.path={FILE}", f"label.path={LABELS}")
    teacher = ("teacher=mace", "teacher.name=mace", f"teacher.checkpoint={MADE / 'teacher'}")
    result = command(
        "evaluate", f"run={RUN}", "structures=test.xyz", *places, *teacher, "rows=2", "atomic_energies=true"
    )
    assert result.status == 0, result.err
    assert "not used" not in result.out
    for name in ("atomic_energy_mae_meV", "hessian_row_mae_eV_per_A2"):
        (found,) = re.findall(rf"\n  {name} +(\S+) +–\n", result.out)
        assert float(found) == pytest.approx(ANSWERS[name], abs=1e-3)


def structures_of_the_test_split():
    test = set(RunRecord.read(RUN).keys["test"])
    molecules = [atoms for atoms in read(FILE, index=":") if len(atoms) > 1]
    return [atoms for atoms, frame in zip(molecules, extxyz.read(str(FILE))[0], strict=True) if frame.key in test]


def test_the_command_prints_the_tables_and_writes_what_is_asked_for(command, tmp_path):
    shutil.copy(STUDENT, tmp_path / "alone.safetensors")
    outputs = "output=[pred.xyz,pred.csv]"
    result = command("evaluate", "run=alone.safetensors", f"structures={FILE}", outputs, "data.group_key=molecule")
    assert result.status == 0, result.err
    assert "21 structures, 85 atoms, 21 structures with energy" in result.out
    assert "force_mae_meV_per_A" in result.out
    assert "plot: pred.png" in result.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.safetensors", "pred.csv", "pred.png", "pred.xyz"]
    assert all("jointkd_energy" in atoms.info for atoms in read(tmp_path / "pred.xyz", index=":"))
    again = command("evaluate", "run=alone.safetensors", f"structures={FILE}", outputs)
    assert again.status == 1
    assert (
        again.err
        == "ConfigError: output=pred.xyz exists and is not replaced; give another name, or move the file away\n"
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run=none", f"structures={FILE}"], "DataError: run=none does not exist"),
        ([f"run={STUDENT}"], f"ConfigError: run={STUDENT} is a file and has no test split; give structures=FILE"),
        ([f"run={STUDENT}", "structures=none.xyz"], "DataError: structures=none.xyz does not exist"),
        (
            [f"run={STUDENT}", f"structures={FILE}", "output=pred.pdf"],
            "ConfigError: output=pred.pdf must end with .xyz",
        ),
        ([f"run={FILE}", f"structures={FILE}"], f"DataError: {FILE}"),
        (["run=3"], "DataError: run=3 holds no finished run"),
        ([f"run={STUDENT}", "structures=3"], "DataError: structures=3 does not exist"),
        ([f"run={STUDENT}", f"structures={FILE}", "plot=3"], "ConfigError: plot=3 must end with .png"),
        ([f"run={STUDENT}", f"structures={FILE}", "output=3"], "ConfigError: output=3 must end with .xyz"),
        ([f"run={STUDENT}", f"structures={FILE}", "data.units=eV"], "ConfigError: data.units=eV must be two units"),
        ([f"run={STUDENT}", f"structures={FILE}", "trust=3"], "ConfigError: trust=3 must be an import path"),
        ([f"run={STUDENT}", f"structures={FILE}", "seed=a"], "ConfigError: seed=a must be an integer"),
    ],
)
def test_bad_input_gets_one_line(command, arguments, line):
    result = command("evaluate", *arguments)
    assert result.status == 1
    assert result.err.startswith(line)
    assert result.err.count("\n") == 1


def test_a_student_of_your_own_class_is_evaluated_where_it_is_trusted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, saved = load_student(STUDENT)
    target = f"{__name__}.OwnPaiNN"
    assert OwnPaiNN.__name__ in target
    save_student(Path("own.safetensors"), saved._replace(config=saved.config | {"_target_": target}))
    with pytest.raises(DataError, match="trust="):
        evaluate("own.safetensors", structures=FILE)
    assert evaluate("own.safetensors", structures=FILE, options={"trust": target}).metrics


def test_a_file_is_refused_as_a_run_from_python_too():
    with pytest.raises(ConfigError, match="has no test split"):
        evaluate(STUDENT)

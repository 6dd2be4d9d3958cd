"""A student is graded from the command line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write

from tests.files import molecules, saved

QUICK = (
    "stability.time=0.01", "stability.replicas=3", "stability.temperatures=[10,20]", "conservation.time=0.01",
    "conservation.replicas=2", "consistency.structures=2", "against_teacher.frames=2",
)  # fmt: skip
LENIENT = ("dimers.not_repulsive=99", "conservation.drift=1e9", "conservation.rate=1e9", "teacher=none")


@pytest.fixture
def trained(command, tmp_path: Path) -> Path:
    """The folder of a run on a file that says itself how it is divided."""
    return train(command, tmp_path)


def train(command, tmp_path: Path, **info: int) -> Path:
    """See `trained`. info: entries of all structures in the file."""
    structures = molecules(12)
    for number, atoms in enumerate(structures):
        atoms.info.update(info, part=("train", "val", "test")[min(2, number // 5)])
    data = saved(tmp_path / "mine.xyz", structures)
    small = ("student.width=8", "student.layers=1", "student.radial=6", "student.cutoff=4.0", "trainer.max_epochs=1")
    keys = ("data.energy_key=REF_energy", "data.forces_key=REF_forces", "data.split_key=part", "data.split.by=file")
    options = ("student.conservative=true", "teacher=none", "method=none", "hydra.run.dir=run")
    result = command("train", "data=extxyz", f"data.path={data}", *keys, *small, *options)
    assert result.status == 0, result.err
    return tmp_path / "run"


def test_a_student_is_graded_on_the_test_structures_of_its_run(command, trained):
    failed = command("accept", "run=run", *QUICK)
    assert failed.status == 1
    assert re.match(r"NotAccepted: run fails \d+ of 11 gates: ", failed.err.splitlines()[-1])
    assert "; see run/acceptance.md" in failed.err
    result = json.loads((trained / "acceptance.json").read_text(encoding="utf-8"))
    assert result["passed"] is False
    assert all(set(gate) == {"name", "passed", "value", "threshold", "unit", "detail"} for gate in result["gates"])
    gates = {gate["name"]: gate for gate in result["gates"]}
    assert list(gates) == [
        "extensivity", "force consistency", "rotation and permutation", "repulsion at short distances", "energy drift",
        "energy drift per atom", "stability at 10 K", "stability at 20 K", "forces on visited frames",
        "vibrational frequencies", "speed-up",
    ]  # fmt: skip
    assert [gates[name]["passed"] for name in ("extensivity", "force consistency", "rotation and permutation")] == [
        True
    ] * 3
    assert gates["speed-up"]["value"] is None
    assert "records no teacher" in gates["speed-up"]["detail"]
    assert result["structures"] == "2 structures of the test split of run"
    assert result["options"]["stability"]["time"] == 0.01
    page = (trained / "acceptance.md").read_text(encoding="utf-8")
    assert page.startswith("# The student fails ")
    assert page.count("\n| ") == 1 + len(gates)
    assert (trained / "acceptance.png").stat().st_size > 10_000
    data = json.loads((trained / "acceptance_data.json").read_text(encoding="utf-8"))
    assert {"dimers", "constant_energy", "stability", "frequencies_per_cm", "crystal"} == set(data)
    assert data["crystal"] is None

    before = (trained / "acceptance.json").read_bytes()
    again = command("accept", "run=run", *QUICK, *LENIENT)
    assert again.status == 1
    assert again.err.startswith(
        "ConfigError: run/acceptance.json exists already; give overwrite=true to replace it, or"
    )
    assert (trained / "acceptance.json").read_bytes() == before
    passed = command("accept", "run=run", *QUICK, *LENIENT, "overwrite=true")
    assert passed.status == 0, passed.err
    result = json.loads((trained / "acceptance.json").read_text(encoding="utf-8"))
    assert result["passed"] is True
    assert len(result["gates"]) == 8
    assert result["teacher"] == "no teacher (teacher=none), whose gates are left out"
    assert (trained / "acceptance.md").read_text(encoding="utf-8").startswith("# The student passes all gates")


@pytest.mark.slow
def test_a_crystal_has_gates_of_its_own(command, trained):
    crystal = Atoms("CO", [[0, 0, 0], [1.5, 1.6, 1.4]], cell=3.0 * np.eye(3), pbc=True)
    saved(trained / "crystal.xyz", [crystal])
    arguments = (
        "accept",
        "run=run",
        *QUICK,
        "structures=run/crystal.xyz",
        "crystal.supercell=3",
        "stability.replicas=1",
    )
    names = ["equilibrium volume", "bulk modulus", "elastic constants", "phonon frequencies", "imaginary phonons"]
    command(*arguments, "directory=alone")
    gates = json.loads(Path("alone/acceptance.json").read_text(encoding="utf-8"))["gates"]
    assert [gate["name"] for gate in gates][-5:] == names
    assert all("records no teacher" in gate["detail"] for gate in gates[-5:])
    teacher = ("teacher=ase", "teacher.calculator=tests.calculators.Metal", "against_teacher.radial_time=0.01")
    command(*arguments, "directory=both", *teacher, "crystal.properties=[phonons]", "crystal.relaxation=100")
    gates = json.loads(Path("both/acceptance.json").read_text(encoding="utf-8"))["gates"]
    assert [gate["name"] for gate in gates][-2:] == names[-2:]
    assert all(gate["value"] is not None for gate in gates[-2:])
    data = json.loads(Path("both/acceptance_data.json").read_text(encoding="utf-8"))["crystal"]
    assert len(data["phonons_per_cm"]["student"]) == 1
    assert data["equation_of_state"] is None
    assert width_of(Path("both/acceptance.png")) == 1.5 * width_of(Path("alone/acceptance.png"))
    command(*arguments, "directory=without", *teacher, "crystal.properties=[]")
    gates = json.loads(Path("without/acceptance.json").read_text(encoding="utf-8"))["gates"]
    assert not {gate["name"] for gate in gates} & set(names)


def test_ions_are_not_graded_by_a_teacher_that_takes_no_charge(command, tmp_path, tiny_mace):
    trained = train(command, tmp_path, charge=1)
    graded = command("accept", "run=run", *QUICK, "teacher=mace", f"teacher.checkpoint={tiny_mace}")
    assert graded.status == 1
    gates = json.loads((trained / "acceptance.json").read_text(encoding="utf-8"))["gates"]
    (speed,) = [gate for gate in gates if gate["name"] == "speed-up"]
    assert "takes no charge and no spin, but 2 of 2 structures have them" in speed["detail"]
    assert "of the test split of run have a charge or a spin (the first: charge=1)" in graded.out


def width_of(picture: Path) -> int:
    """Pixels, from the header of a PNG file."""
    return int.from_bytes(picture.read_bytes()[16:20], "big")


@pytest.mark.slow
def test_a_file_is_graded_on_given_structures_in_a_folder_of_its_own(command, trained, tmp_path):
    (trained / "student.safetensors").rename(tmp_path / "alone.safetensors")
    write(tmp_path / "starts.xyz", read(tmp_path / "mine.xyz", index="0:3"), format="extxyz")
    arguments = ("run=alone.safetensors", *QUICK, *LENIENT, "directory=graded")
    without = command("accept", *arguments)
    assert without.status == 1
    assert without.err == (
        "ConfigError: run=alone.safetensors is a file and has no test structures; give structures=FILE\n"
    )
    result = command("accept", *arguments, "structures=starts.xyz")
    assert result.status == 0, result.err
    assert json.loads((tmp_path / "graded" / "acceptance.json").read_text(encoding="utf-8"))["passed"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["run=none"], "DataError: run=none does not exist"),
        (["stability.time=-1"], "ConfigError: stability.time=-1 must be a positive number; give a number above 0"),
        (["stability.temperature=[300]"], "ConfigError: there is no option stability.temperature; did you mean stab"),
        (["crystal.properties=[phonon]"], "ConfigError: crystal.properties has phonon, which is not compared; did you"),
        (["directory=mine.xyz"], "ConfigError: directory=mine.xyz is a file; give a folder, which need not exist yet"),
        (["teacher=nobody"], "ConfigError: there is no teacher=nobody; "),
        (
            ["structures=mine.xyz", "stability.replicas=many"],
            "ConfigError: stability.replicas=many is of the wrong type",
        ),
    ],
)
def test_a_mistake_gives_one_line_and_writes_nothing(command, tmp_path, options, message):
    (tmp_path / "run").mkdir()
    (tmp_path / "mine.xyz").write_text("")
    given = dict(option.split("=", 1) for option in ["run=run", *options])
    result = command("accept", *(f"{name}={value}" for name, value in given.items()))
    assert result.status == 1
    assert result.err.startswith(message)
    assert result.err.count("\n") == 1
    assert not list((tmp_path / "run").iterdir())

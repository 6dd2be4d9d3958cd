"""Several structures, seeds and students from the command line, and a simulation that was interrupted."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
import torch
from ase.build import molecule
from ase.io import read, write

from jointkd.simulation import several
from jointkd.students.student_file import SavedStudent, build, save_student
from tests.integration.test_simulate import CONFIG, MOLECULES, REFERENCES

OPTIONS = ("structures=start.xyz", "steps=40", "interval=5", "temperature=300", "timestep=0.5", "save=10")


def student(file: Path, seed: int, method: str) -> None:
    torch.manual_seed(seed)
    weights = build(CONFIG, torch.float32).state_dict()
    save_student(file, SavedStudent(CONFIG, weights, REFERENCES, {"method": method}))


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    student(tmp_path / "none.safetensors", 0, "none")
    student(tmp_path / "joint.safetensors", 1, "joint")
    write(tmp_path / "start.xyz", MOLECULES, format="extxyz")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "lifetimes.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_all_structures_and_seeds_of_two_students_make_a_table_a_plot_and_the_last_structures(command, tmp_path):
    runs = "run=[none.safetensors,joint.safetensors]"
    cold = ("temperature=10", "steps=10", "index=all")
    result = command("simulate", runs, *OPTIONS, *cold, "seed=[0,5]", "directory=all")
    assert result.status == 0, result.err
    table = rows(tmp_path / "all")
    assert [(row["student"], row["structure"], row["seed"]) for row in table] == [
        (name, str(number), str(seed)) for name in ("none", "joint") for number in range(3) for seed in (0, 5)
    ]
    assert {row["stable_ps"] for row in table} == {"0.005"}
    summary = json.loads((tmp_path / "all" / "lifetimes.json").read_text(encoding="utf-8"))
    assert summary["students"]["joint"] == {"replicas": 6, "unstable": 0, "events": {}}
    assert summary["options"]["seed"] == [0, 5]
    last = read(tmp_path / "all" / "last.xyz", index=":")
    assert len(last) == 12
    assert len({atoms.positions.tobytes() for atoms in last}) == 12
    names = sorted(file.name for file in (tmp_path / "all").iterdir())
    assert names == ["last.xyz", "lifetimes.csv", "lifetimes.json", "lifetimes.png"]
    again = command("simulate", runs, *OPTIONS, *cold, "directory=all")
    assert again.status == 1
    assert again.err.startswith("ConfigError: directory=all holds another simulation (lifetimes.json)")


@contextmanager
def interrupted(after: int) -> Iterator[list[int]]:
    """Within the block a simulation is interrupted after so many states have been saved, whose steps it yields."""
    save, saved = several.save_state, []

    def then_interrupt(*state):
        save(*state)
        saved.append(state[2])
        if len(saved) == after:
            raise KeyboardInterrupt

    with mock.patch.object(several, "save_state", then_interrupt):
        yield saved


def test_a_simulation_that_was_interrupted_goes_on_to_the_same_result_bit_by_bit(command, tmp_path):
    arguments = ("simulate", "run=joint.safetensors", *OPTIONS, "index=[0,2]", "stop_when=never", "dtype=float64")
    assert command(*arguments, "directory=whole").status == 0
    with interrupted(after=2) as saved:
        assert command(*arguments, "directory=parts").status == 130
    assert saved == [10, 20]
    assert [file.name for file in (tmp_path / "parts").iterdir()] == ["state-0.json"]
    changed = command(*arguments, "directory=parts", "temperature=350")
    assert changed.status == 1
    assert changed.err == (
        "ConfigError: parts holds an unfinished simulation with another temperature (300 instead of 350); "
        "give another folder, or remove it to begin anew\n"
    )
    (tmp_path / "parts" / "lifetimes.csv").write_text("of an interruption at the end")
    resumed = command(*arguments, "directory=parts")
    assert resumed.status == 0, resumed.err
    assert "joint goes on after 20 of 40 steps" in resumed.out
    for name in ("last.xyz", "lifetimes.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.slow
def test_a_state_of_another_student_or_a_damaged_one_is_refused(command, tmp_path):
    arguments = ("simulate", *OPTIONS, "index=all", "directory=parts")
    with interrupted(after=1):
        assert command(*arguments, "run=joint.safetensors").status == 130
    other = command(*arguments, "run=none.safetensors")
    assert other.err.startswith("ConfigError: parts holds an unfinished simulation with another student; give another")
    state = tmp_path / "parts" / "state-0.json"
    state.write_text(state.read_text()[:-100])
    damaged = command(*arguments, "run=joint.safetensors")
    assert damaged.status == 1
    assert damaged.err.startswith("DataError: parts/state-0.json is damaged (")
    assert damaged.err.count("\n") == 1


@pytest.mark.slow
def test_a_replica_that_breaks_is_named_and_the_others_go_on(command, tmp_path):
    write(tmp_path / "start.xyz", [molecule("CH3CH2OH"), molecule("H2O")], format="extxyz")
    hot = ("temperature=3000", "steps=400", "timestep=1.0", "shortest=0")
    result = command("simulate", "run=joint.safetensors", *OPTIONS, *hot, "index=all", "directory=hot")
    assert result.status == 0, result.err
    broken = [row for row in rows(tmp_path / "hot") if row["stable"] == "False"]
    assert broken
    assert all(row["event"] == "fragments" and "molecules instead of 1" in row["description"] for row in broken)
    assert all(0 <= float(row["stable_ps"]) < 0.4 for row in broken)


@pytest.mark.parametrize(("index", "file"), [("1", "simulation.json"), ("all", "lifetimes.json")])
def test_atoms_nearer_than_the_shortest_distance_end_a_simulation(command, tmp_path, index, file):
    options = ("run=joint.safetensors", *OPTIONS, f"index={index}", "shortest=1.2", "directory=new")
    result = command("simulate", *options)
    assert result.status == 0, result.err
    assert "close contact" in (tmp_path / "new" / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["export", "accept"])
def test_other_commands_take_one_student(command, name):
    result = command(name, "run=[none.safetensors,joint.safetensors]")
    assert result.status == 1
    assert result.err.startswith("ConfigError: run=['none.safetensors', 'joint.safetensors'] must be one path; give a ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["run=[joint.safetensors,else]"], "DataError: run=else does not exist"),
        (["index=[0,9]"], "DataError: index=9: start.xyz has 3 structures; count them from 0"),
        (["seeds=1"], "ConfigError: there is no option seeds; did you mean seed? the top level has run, structures, "),
        (["index=[0,-3]"], "ConfigError: index=[0, -3] names a structure twice; give several seeds instead"),
        (["index=some"], "ConfigError: index=some must be a number, a list of numbers or all"),
        (["index=[]"], "ConfigError: index=[] must be a number, a list of numbers or all"),
        (["sample=4"], "ConfigError: sample=4: start.xyz has 3 structures; draw fewer"),
        (["sample=0"], "ConfigError: sample=0 must be a positive integer or null"),
        (["seed=[1,1]"], "ConfigError: seed=[1, 1] must be different numbers"),
        (["seed=[1,-1]"], "ConfigError: seed=[1, -1] must not be negative"),
        (["save=0", "index=all"], "ConfigError: save=0 must be a positive integer"),
        (["structures=null"], "DataError: structures is not set, and a student's file has no test structures; give"),
    ],
)
def test_a_wrong_option_gives_a_one_line_error_and_leaves_no_folder(command, tmp_path, options, message):
    values = ["run=joint.safetensors", *OPTIONS, *options]
    chosen = dict(option.split("=", 1) for option in values)
    result = command("simulate", *(f"{name}={value}" for name, value in chosen.items()), "directory=new")
    assert result.status == 1
    assert result.err.startswith(message)
    assert result.err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_committee_ends_replicas_on_which_it_disagrees_also_after_an_interruption(command, tmp_path):
    committee = ("run=joint.safetensors", *OPTIONS, "index=all", "committee=[none.safetensors,joint.safetensors]")
    free = command("simulate", *committee, "directory=free")
    assert free.status == 0, free.err
    largest = sorted(float(row["largest_uncertainty_eV_per_A"]) for row in rows(tmp_path / "free"))
    limit = (largest[0] + largest[-1]) / 2
    whole = command("simulate", *committee, f"uncertainty={limit}", "directory=whole")
    assert whole.status == 0, whole.err
    ended = [row for row in rows(tmp_path / "whole") if row["event"] == "uncertain forces"]
    assert 0 < len(ended) < 3
    assert all("eV/Å from their mean" in row["description"] for row in ended)
    with interrupted(after=2):
        assert command("simulate", *committee, f"uncertainty={limit}", "directory=parts").status == 130
    assert "were ended because their forces were uncertain" in whole.out
    refused = command("simulate", *committee, f"uncertainty={2 * limit}", "directory=parts")
    assert "holds an unfinished simulation with another uncertainty" in refused.err
    assert command("simulate", *committee, f"uncertainty={limit}", "directory=parts").status == 0
    for name in ("lifetimes.csv", "last.xyz"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_committee_is_refused_before_anything_is_simulated_or_written(command, tmp_path):
    for options, line in (
        (
            ("run=[none.safetensors,joint.safetensors]", "committee=[joint.safetensors]", "index=all"),
            "no student beside",
        ),
        (("run=joint.safetensors", "committee=[nowhere.safetensors]"), "committee=nowhere.safetensors does not exist"),
        (
            ("run=joint.safetensors", "committee=[metals.safetensors]"),
            "committee=metals.safetensors: the student was not",
        ),
        (
            ("run=[joint.safetensors,metals.safetensors]", "index=all"),
            "run=metals.safetensors: the student was not trained",
        ),
        (
            ("run=[joint.safetensors,joint.safetensors]", "index=all"),
            "names a student twice; give each once, and several",
        ),
        (("run=joint.safetensors", "committee=['n*']"), "the student file n* does not exist"),
        (("run=joint.safetensors", "committee=[1]"), "the student file 1 does not exist"),
    ):
        save_student(
            tmp_path / "metals.safetensors",
            SavedStudent(CONFIG, build(CONFIG, torch.float32).state_dict(), {29: -1.0}, {}),
        )
        result = command("simulate", *OPTIONS, *options, "directory=new")
        assert result.status == 1
        assert line in result.err
        assert not (tmp_path / "new").exists() or not list((tmp_path / "new").iterdir())

"""New structures of a training split are sampled, and trained on with the teacher's labels beside those at hand."""

import json
import shutil
from itertools import count
from pkgutil import resolve_name

import pytest
from ase.io import read
from safetensors.torch import load_file

from tests.files import molecules, saved

TEACHER = ["teacher=ase", "teacher.calculator=ase.calculators.emt.EMT", "teacher.name=emt"]
DATA = ["data=extxyz", "data.energy_key=REF_energy", "data.forces_key=REF_forces", "data.group_key=molecule"]
SMALL = ["student.width=8", "student.layers=1", "label.rows=2", "label.eval_rows=1", "trainer.max_epochs=1"]


@pytest.mark.slow
def test_sampled_structures_are_trained_on_with_the_teachers_labels(command, tmp_path):
    (tmp_path / "set").mkdir()
    saved(tmp_path / "set" / "mine.xyz", molecules(30))
    options = ["temperatures=300", "steps=20", "interval=10", "number=6", "output=new.xyz", "relax=3"]
    made = command("sample", *DATA, *TEACHER, "data.path=set/mine.xyz", *options)
    assert made.status == 0, made.err
    assert "relax=3 is not used with how=dynamics" in made.out
    assert "new.xyz: 6 structures, 6 of them new" in made.out
    structures = read(tmp_path / "new.xyz", ":")
    assert all(atoms.calc is None and "REF_energy" not in atoms.info for atoms in structures)
    shutil.move(tmp_path / "new.xyz", tmp_path / "set")
    folder = "hydra.run.dir=run"
    refused = command("train", *DATA, *TEACHER, "data.path=set", *SMALL, folder)
    assert refused.err.startswith("DataError: new.xyz frame 0 has no energy under data.energy_key=REF_energy")
    trained = command("train", *DATA, *TEACHER, "data.path=set", *SMALL, folder, "data.missing=teacher")
    assert trained.status == 0, trained.err
    assert "the energies of 6 and the forces of 6 of the 30 training structures" in trained.out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["from_teacher"] == {"energies": 6, "forces": 6}
    again = command("evaluate", "run=run")
    assert f"{summary['test']['force_mae_meV_per_A']:.3f}" in again.out
    other = command("train", *DATA, *TEACHER, "data.path=set/mine.xyz", *SMALL, folder, "ckpt_path=last")
    assert "data.missing=refuse (before: teacher)" in other.err


@pytest.mark.slow
def test_rounds_that_are_interrupted_end_as_those_that_are_not(command, tmp_path, monkeypatch):
    saved(tmp_path / "mine.xyz", molecules(30))
    trained = command("train", *DATA, *TEACHER, "data.path=mine.xyz", *SMALL, "hydra.run.dir=first")
    assert trained.status == 0, trained.err
    validated = json.loads((tmp_path / "first" / "split.json").read_text())["keys"]
    options = ["with=first", "rounds=2", "temperatures=100", "steps=10", "interval=5", "number=4", "window=9"]
    untrusted = command("sample", *options, "output=whole")
    assert untrusted.err.endswith("add trust=ase.calculators.emt.EMT\n")
    options.append("trust=ase.calculators.emt.EMT")
    done = {}
    for folder, stops in {"whole": [], "twice": ["Sampler.plausible", "write_provenance", "write_results"]}.items():
        for name in stops:
            interrupt(monkeypatch, name)
            assert command("sample", *options, f"output={folder}").status == 130
            monkeypatch.undo()
        done[folder] = command("sample", *options, f"output={folder}")
        assert done[folder].status == 0, done[folder].err
    assert "data demo" not in done["whole"].out
    for number in (1, 2):
        files = [tmp_path / folder / f"round-{number}" for folder in done]
        first, second = (load_file(file / "student.safetensors") for file in files)
        assert all(first[name].equal(second[name]) for name in first)
        first, second = (read(file.with_suffix(".xyz"), ":") for file in files)
        assert len(first) == 4
        assert all((one.positions == other.positions).all() for one, other in zip(first, second, strict=True))
        summary = json.loads((files[0] / "summary.json").read_text())
        assert summary["from_teacher"] == {"energies": 4 * number, "forces": 4 * number}
        keys = json.loads((files[0] / "split.json").read_text())["keys"]
        assert (keys["val"], keys["test"]) == (validated["val"], validated["test"])
    whole, twice = ([line.split()[-3:] for line in result.out.splitlines()[-3:]] for result in done.values())
    assert whole == twice


def interrupt(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let a function be interrupted as it is called the second time, or the first time for one of training."""
    calls = count(0 if name.startswith("Sampler") else 1)
    module = "jointkd.sampling.sample" if name.startswith("Sampler") else "jointkd.commands.train"
    owner, _, attribute = f"{module}.{name}".rpartition(".")
    original = getattr(resolve_name(owner), attribute)

    def interrupted(*arguments):
        if next(calls):
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(f"{owner}.{attribute}", interrupted)


def test_mistakes_are_one_line_and_write_nothing(command, tmp_path):
    saved(tmp_path / "mine.xyz", molecules(30))
    mine = [*DATA, *TEACHER, "data.path=mine.xyz", "output=new.xyz"]
    for wrong, message in {
        "how=rattel": "ConfigError: how=rattel is not known; choose one of dynamics, rattle",
        "with=nowhere": "DataError: with=nowhere does not exist",
        "temperatures=null": "ConfigError: temperatures=None must be a positive number in K",
        "teacher.python=python3": "ConfigError: teacher.python=python3: this command calls the teacher in its",
    }.items():
        result = command("sample", *mine, wrong)
        assert result.status == 1
        assert result.err.startswith(message)
        assert result.err.count("\n") == 1
    without = command("sample", *DATA, "teacher=none", "data.path=mine.xyz", "output=new.xyz")
    assert without.err.startswith("ConfigError: teacher=none judges no structures")
    assert not list(tmp_path.glob("*new*"))

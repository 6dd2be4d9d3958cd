"""The commands of docs/tutorial.md, run as they are written there, on a short budget."""

import re
from pathlib import Path

import pytest
from ase.io import read, write

DOC = Path(__file__).parents[2] / "docs" / "tutorial.md"
QUICK = {  # additional options
    "label": ("label.rows=2",),
    "train": ("label.rows=2", "trainer.max_epochs=2", "trainer.check_val_every_n_epoch=1", "student.width=16"),
    "simulate": ("steps=20",),
}


@pytest.mark.slow
def test_the_commands_of_the_tutorial_lead_from_a_file_to_dynamics(command, tmp_path, shared_data, monkeypatch):
    pytest.importorskip("mace")
    frames = read(shared_data / "3bpa" / "train_300K.xyz", index=":25")
    write(tmp_path / "my.xyz", frames[:20], format="extxyz")
    write(tmp_path / "others.xyz", frames[20:], format="extxyz")
    lines = re.findall(r"^    python -m jointkd\.(\w+) (.*)$", DOC.read_text(), re.MULTILINE)
    assert [name for name, _ in lines] == [
        "prepare",
        "label",
        "label",
        "train",
        "report",
        "evaluate",
        "evaluate",
        "evaluate",
        "simulate",
    ]
    for name, options in lines:
        available = options.replace("teacher=mace_off", "teacher=demo").split()  # the teacher that needs no download
        result = command(name, *available, *QUICK.get(name, ()))
        assert result.status == 0, (name, result.err)
    assert (tmp_path / "outputs" / "mine" / "table.md").exists()
    assert len(list((tmp_path / "outputs" / "simulations").rglob("trajectory.xyz"))) == 1
    (script,) = re.findall(r"^```python\n(.*?)^```", DOC.read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(script.replace("steps=100", "steps=2"), {})

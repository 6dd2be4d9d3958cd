"""The folder of a simulation, which replaces nothing."""

import pytest
from ase.build import molecule

from jointkd.errors import ConfigError
from jointkd.simulation.outputs import Line, SimulationFolder


def fill(folder: SimulationFolder) -> None:
    with folder:
        folder.write_line(Line(0.0, 1.0, 1.0, 300.0, 0.0))
        folder.write_frame(molecule("H2O"))
        folder.write_summary({"stable": True})


@pytest.mark.parametrize("name", ["student.safetensors", "config.yaml", "summary.json", "checkpoints"])
def test_the_folder_of_a_run_is_refused(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(ConfigError, match=rf"is the folder of a run \(it has {name}\); give simulations folders of"):
        SimulationFolder(str(tmp_path))


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "start.xyz").write_text("precious")
    with pytest.raises(ConfigError, match=r"start.xyz is a file; give a folder, which need not exist yet"):
        SimulationFolder(str(tmp_path / "start.xyz"))


@pytest.mark.parametrize("left", ["log.csv", "events.csv", "trajectory.xyz", "simulation.json", "simulation.png"])
def test_a_folder_with_anything_of_another_simulation_is_refused(tmp_path, left):
    (tmp_path / left).write_text("precious")
    with pytest.raises(ConfigError, match=rf"holds another simulation \({left}\); give another folder"):
        SimulationFolder(str(tmp_path))
    assert (tmp_path / left).read_text() == "precious"


def test_of_two_simulations_with_one_folder_one_gets_it(tmp_path):
    first, second = SimulationFolder(str(tmp_path / "new")), SimulationFolder(str(tmp_path / "new"))
    fill(first)
    with pytest.raises(ConfigError, match="holds another simulation"):
        fill(second)
    assert len((tmp_path / "new" / "log.csv").read_text().splitlines()) == 2

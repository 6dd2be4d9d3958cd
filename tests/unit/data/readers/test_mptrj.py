"""MPtrj is read as a stream, with the requested energies and each frame's material as its group."""

import json

import numpy as np
import pytest
from ase import Atoms

from jointkd.data.readers.mptrj import read
from jointkd.errors import ConfigError, DataError
from tests.mptrj import entry, materials, write
from tests.structures import TRICLINIC


def test_frames_are_read_in_the_order_of_the_file(tmp_path):
    frames, free = read(write(tmp_path / "a.json"))
    frames = list(frames)
    assert free == {}
    assert [frame.info["frame_id"] for frame in frames[:4]] == ["mp-1-0-0", "mp-1-0-1", "mp-1-0-2", "mp-2-0-0"]
    _, atoms, bandgap = materials()[0]
    frame = frames[2]
    assert frame.source == "mp-1 frame mp-1-0-2"
    assert frame.group == frame.info["mp_id"] == "mp-1"
    assert frame.info["bandgap"] == bandgap
    np.testing.assert_array_equal(frame.numbers, atoms.numbers)
    np.testing.assert_allclose(frame.cell, atoms.cell.array)
    np.testing.assert_allclose(frame.positions, atoms.positions, atol=1e-12)
    assert frame.pbc.all()


def test_fractional_coordinates_are_those_along_the_vectors_of_a_triclinic_cell(tmp_path):
    crystal = Atoms("H2O", [[0.1, 0.2, 0.3], [2.0, 1.0, 3.0], [1.0, 3.0, 0.5]], cell=TRICLINIC, pbc=True)
    content = entry(crystal, "mp-1", -1.0, 0.0, np.random.default_rng(0))
    (tmp_path / "a.json").write_text(json.dumps({"mp-1": {"mp-1-0-0": content}}))
    (frame,) = read(tmp_path / "a.json")[0]
    np.testing.assert_allclose(frame.positions, crystal.positions, atol=1e-12)
    np.testing.assert_array_equal(frame.cell, TRICLINIC)


def test_forces_belong_to_their_atoms(tmp_path):
    path = write(tmp_path / "a.json")
    forces = json.loads(path.read_text())["mp-1"]["mp-1-0-0"]["force"]
    np.testing.assert_array_equal(next(read(path)[0]).forces, forces)


def test_the_energies_are_the_requested_ones(tmp_path):
    path = write(tmp_path / "a.json")
    raw, corrected = ([frame.energy for frame in read(path, energy)[0]] for energy in ("uncorrected", "corrected"))
    assert raw[0] == pytest.approx(-25.0)
    assert corrected[0] == pytest.approx(-25.0 - 3 * 0.7)
    assert [frame.energy for frame in read(path)[0]] == raw
    with pytest.raises(ConfigError, match=r"data.energy='raw' is not known; choose one of uncorrected, corrected"):
        read(path, "raw")


def test_an_error_in_a_truncated_file_gives_the_number_of_complete_frames(tmp_path):
    path = write(tmp_path / "a.json")
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(DataError, match=r"a.json cannot be read after 12 frames \(.*\); remove it and"):
        list(read(path)[0])


@pytest.mark.parametrize("content", ["[1, 2]", '{"mp-1": 3}', "<html>", ""])
def test_a_file_that_is_not_mptrj_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError) as caught:
        list(read(tmp_path / "a.json")[0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["uncorrected_total_energy", "force", "structure"])
def test_a_frame_without_labels_is_named_with_its_fields(tmp_path, missing):
    content = entry(materials()[0][1], "mp-1", -1.0, 0.0, np.random.default_rng(0))
    del content[missing]
    (tmp_path / "a.json").write_text(json.dumps({"mp-1": {"mp-1-0-0": content}}))
    with pytest.raises(DataError, match=rf"mp-1 frame mp-1-0-0 .*{missing}'; it has .*bandgap"):
        list(read(tmp_path / "a.json")[0])


def test_a_site_of_mixed_occupation_is_refused(tmp_path):
    content = entry(materials()[0][1], "mp-1", -1.0, 0.0, np.random.default_rng(0))
    content["structure"]["sites"][0]["species"] = [{"element": "Sr", "occu": 0.5}, {"element": "Ba", "occu": 0.5}]
    (tmp_path / "a.json").write_text(json.dumps({"mp-1": {"mp-1-0-0": content}}))
    with pytest.raises(DataError, match="mp-1 frame mp-1-0-0"):
        list(read(tmp_path / "a.json")[0])


def test_frames_are_read_on_demand(tmp_path):
    path = write(tmp_path / "a.json")
    path.write_bytes(path.read_bytes()[:-2000])
    assert next(read(path)[0]).group == "mp-1"


@pytest.mark.parametrize("text", [20_000 * "[", 20_000 * '{"a":'])
def test_deeply_nested_json_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text('{"mp-1": {"f": ' + text)
    with pytest.raises(DataError, match=r"cannot be read after 0 frames \(it is nested more than 1000 levels deep\)"):
        list(read(tmp_path / "a.json")[0])

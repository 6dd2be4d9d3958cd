"""Files are read with the keys and units that the user names; an error in a file is reported in one line."""

import gzip

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from jointkd.data.datamodule import DistillationData
from jointkd.data.options import FileData
from jointkd.data.readers.extxyz import read as read_lazily
from jointkd.data.splits import Split
from jointkd.errors import ConfigError, DataError
from tests.files import FREE, isolated, molecules, saved

KEYS = {"energy_key": "REF_energy", "forces_key": "REF_forces"}


def read(*arguments, **options):
    frames, free = read_lazily(*arguments, **options)
    return list(frames), free


def test_energies_forces_positions_and_groups_are_those_of_the_file(tmp_path):
    atoms = molecules(3)
    atoms[2].info["fold"] = "test"
    frames, free = read(str(saved(tmp_path / "a.xyz", atoms)), **KEYS, group_key="molecule", split_key="fold")
    assert free == {}
    for frame, one in zip(frames, atoms, strict=True):
        np.testing.assert_array_equal(frame.numbers, one.numbers)
        np.testing.assert_allclose(frame.positions, one.positions, atol=1e-8)
        np.testing.assert_allclose(frame.forces, one.arrays["REF_forces"], atol=1e-8)
        assert frame.energy == pytest.approx(one.info["REF_energy"], abs=1e-8)
        assert frame.group == one.info["molecule"]
        assert not frame.pbc.any()
    assert [frame.split for frame in frames] == [None, None, "test"]
    assert frames[1].source == "a.xyz frame 1"


def test_labels_that_ase_stores_as_results_are_found(tmp_path):
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])
    atoms.calc = SinglePointCalculator(atoms, energy=-31.0, forces=[[0, 0, 1.0], [0, 0, -1.0]])
    (frame,), _ = read(str(saved(tmp_path / "a.xyz", [atoms])))
    assert frame.energy == -31.0
    assert frame.forces[0, 2] == 1.0


@pytest.mark.parametrize(
    ("energy", "length", "ev", "angstrom"),
    [
        ("hartree", "bohr", 27.211386, 0.52917721),
        ("kcal/mol", "angstrom", 0.0433641, 1.0),
        ("kJ/mol", "nm", 0.01036427, 10.0),
        ("meV", "angstrom", 1e-3, 1.0),
    ],
)
def test_units_convert_energies_lengths_and_forces(tmp_path, energy, length, ev, angstrom):
    atoms = molecules(1)[0]
    atoms.set_cell([5.0, 6.0, 7.0])
    atoms.pbc = True
    path = str(saved(tmp_path / "a.xyz", [atoms, *isolated({1: -0.5})]))
    (frame,), free = read(path, **KEYS, units={"energy": energy, "length": length})
    assert frame.energy == pytest.approx(atoms.info["REF_energy"] * ev, rel=1e-6)
    assert free[1] == pytest.approx(-0.5 * ev, rel=1e-6)
    np.testing.assert_allclose(frame.positions, atoms.positions * angstrom, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(frame.cell, atoms.cell.array * angstrom, rtol=1e-6)
    np.testing.assert_allclose(frame.forces, atoms.arrays["REF_forces"] * ev / angstrom, rtol=1e-6, atol=1e-7)


def test_converted_forces_are_the_negative_derivative_of_the_converted_energy(tmp_path):
    stiffness, stretch = 0.4, 0.1  # hartree/bohr², bohr
    file = tmp_path / "a.xyz"
    lines = []
    for step in (-1e-3, 0.0, 1e-3):
        x = stretch + step
        lines.append(f'2\nProperties=species:S:1:pos:R:3:F:R:3 E={stiffness * x**2 / 2} pbc="F F F"\n')
        lines.append(f"H 0 0 0 {stiffness * x} 0 0\nH {1.4 + x} 0 0 {-stiffness * x} 0 0\n")
    file.write_text("".join(lines))
    atomic = {"energy": "hartree", "length": "bohr"}
    below, here, above = read(str(file), energy_key="E", forces_key="F", units=atomic)[0]
    slope = (above.energy - below.energy) / (above.positions[1, 0] - below.positions[1, 0])
    assert here.forces[1, 0] == pytest.approx(-slope, rel=1e-5)


def test_an_unknown_unit_is_refused_with_the_nearest_known_one(tmp_path):
    path = str(saved(tmp_path / "a.xyz", molecules(1)))
    with pytest.raises(ConfigError, match=r"data.units.energy='kcal' is not a known unit; did you mean kcal/mol\?"):
        read(path, **KEYS, units={"energy": "kcal"})
    with pytest.raises(ConfigError, match=r"data.units.length='Angstrom' .* did you mean angstrom\?"):
        read(path, **KEYS, units={"length": "Angstrom"})


def test_cells_and_periodic_directions_are_read(tmp_path):
    atoms = Atoms(
        "NaCl", [[0, 0, 0], [2.8, 0, 0]], cell=[[5.6, 0, 0], [0.3, 5.6, 0], [0, 0, 9]], pbc=[True, True, False]
    )
    (frame,), _ = read(str(saved(tmp_path / "a.xyz", [atoms])), None, None)
    np.testing.assert_allclose(frame.cell, atoms.cell.array)
    assert frame.pbc.tolist() == [True, True, False]


def test_a_file_without_labels_is_read_if_its_keys_are_null(tmp_path):
    (frame,), _ = read(str(saved(tmp_path / "a.xyz", [Atoms("H")])), None, None)
    assert frame.energy is None
    assert frame.forces is None


def test_isolated_atoms_give_reference_energies_and_need_no_forces(tmp_path):
    frames, free = read(str(saved(tmp_path / "a.xyz", [*isolated(), *molecules(4)])), **KEYS)
    assert free == FREE
    assert len(frames) == 4


def test_a_compressed_file_gives_the_same_frames_as_the_plain_one(tmp_path):
    plain = saved(tmp_path / "a.xyz", molecules(5))
    packed = tmp_path / "a.xyz.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert [frame.key for frame in read(str(packed), **KEYS)[0]] == [frame.key for frame in read(str(plain), **KEYS)[0]]


def test_other_formats_of_ase_are_read(tmp_path):
    atoms = molecules(3)[1]
    atoms.calc = SinglePointCalculator(atoms, energy=-5.0, forces=np.ones((len(atoms), 3)))
    write(tmp_path / "a.traj", [atoms])
    (frame,), _ = read(str(tmp_path / "a.traj"))
    assert frame.energy == -5.0


def test_a_missing_entry_is_named_with_the_entries_of_the_frame(tmp_path):
    path = str(saved(tmp_path / "a.xyz", molecules(2)))
    with pytest.raises(
        DataError, match=r"a.xyz frame 0 has no energy under data.energy_key=energy \(it has REF_energy, "
    ):
        read(path)
    with pytest.raises(DataError, match=r"no forces under data.forces_key=dft_forces \(it has .*REF_forces"):
        read(path, "REF_energy", "dft_forces")


@pytest.mark.parametrize("name", ["Forces", "dft_force", "REF_FORCES"])
def test_an_entry_that_is_named_like_the_missing_one_is_named_in_the_remedy(tmp_path, name):
    (atoms,) = molecules(1)
    atoms.arrays[name] = atoms.arrays.pop("REF_forces")
    atoms.info["energies"] = "none"
    path = str(saved(tmp_path / "a.xyz", [atoms]))
    with pytest.raises(DataError, match=rf"; set data.forces_key={name} if that is what they are, or data.reference="):
        list(read(path, "REF_energy", "forces")[0])
    with pytest.raises(DataError, match=r"; set data.energy_key=REF_energy if that"):  # and not `energies`, a word
        list(read(path, "energy", None)[0])
    atoms.arrays["other_forces"] = np.ones(len(atoms))
    path = str(saved(tmp_path / "b.xyz", [atoms]))
    with pytest.raises(DataError, match=rf"; set data.forces_key={name} if"):  # and not other_forces, one per atom
        list(read(path, "REF_energy", "forces")[0])


@pytest.mark.parametrize(("energy", "forces"), [("molecule", "REF_forces"), ("REF_energy", "numbers")])
def test_an_entry_of_the_wrong_shape_or_type_is_refused(tmp_path, energy, forces):
    path = str(saved(tmp_path / "a.xyz", molecules(1)))
    with pytest.raises(DataError, match=r"frame 0 must have (energy|forces) of shape \[.*\] under data.*_key=.*, not "):
        read(path, energy, forces)


def test_an_error_in_a_truncated_file_gives_the_number_of_complete_frames(tmp_path):
    path = saved(tmp_path / "a.xyz", molecules(3))
    path.write_text("\n".join(path.read_text().splitlines()[:-2]) + "\n")
    with pytest.raises(DataError, match=r"a.xyz cannot be read after 2 frames") as caught:
        read(str(path), **KEYS)
    assert "\n" not in str(caught.value)


def test_a_truncated_compressed_file_is_refused(tmp_path):
    plain = saved(tmp_path / "a.xyz", molecules(3))
    (tmp_path / "a.xyz.gz").write_bytes(gzip.compress(plain.read_bytes())[:-20])
    with pytest.raises(DataError, match=r"cannot be read"):
        read(str(tmp_path / "a.xyz.gz"), **KEYS)


def test_a_file_of_unknown_format_is_refused(tmp_path):
    (tmp_path / "a.dat").write_text("nothing to see\n")
    with pytest.raises(DataError, match=r"set data.format"):
        read(str(tmp_path / "a.dat"))


@pytest.mark.parametrize("content", ["", None])
def test_a_file_without_frames_is_refused(tmp_path, content):
    path = tmp_path / "a.xyz"
    if content is None:
        saved(path, isolated())
    else:
        path.write_text(content)
    with pytest.raises(DataError, match=r"contains no structures|cannot be read"):
        read(str(path), **KEYS)


def test_a_missing_file_is_refused():
    with pytest.raises(DataError, match=r"data.path=missing.xyz does not exist"):
        read("missing.xyz")


def test_real_data_is_read(shared_data):
    path = shared_data / "3bpa" / "train_300K.xyz"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    frames, _ = read(str(path))
    assert len(frames) == 500
    assert {len(frame) for frame in frames} == {27}
    assert len({frame.key for frame in frames}) == 500
    data = DistillationData(FileData(path=str(path), name="3bpa", split=Split()))
    assert {split: len(part) for split, part in data.frames.items()} == {"train": 400, "val": 50, "test": 50}
    assert not data.source.manifest["set_aside"]


def test_labels_that_are_not_required_are_read_where_they_are(tmp_path):
    first, second = molecules(2)
    del second.info["REF_energy"], first.arrays["REF_forces"]
    file = saved(tmp_path / "some.xyz", [first, second])
    with pytest.raises(DataError, match="has no forces under"):
        list(read(str(file), "REF_energy", "REF_forces")[0])
    one, other = read(str(file), "REF_energy", "REF_forces", labels_required=False)[0]
    assert (one.energy, one.forces) == (pytest.approx(first.info["REF_energy"]), None)
    assert other.energy is None
    np.testing.assert_allclose(other.forces, second.arrays["REF_forces"], atol=1e-8)


@pytest.mark.parametrize("path", [None, "none.xyz", ".", "empty"])
def test_messages_name_the_option_of_the_path(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"^DataError: structures(=| is not set)"):
        read(path, option="structures")


def test_a_group_or_split_that_no_structure_has_is_said(tmp_path, caplog):
    file = str(saved(tmp_path / "some.xyz", molecules(3)))
    read(file, **KEYS, group_key="molecule")
    read(file, **KEYS, group_key="file")
    assert not caplog.records
    read(file, **KEYS, group_key="molecul", split_key="fold")
    assert [record.getMessage() for record in caplog.records] == [
        f"data.group_key=molecul: no structure of data.path={file} has an entry of that name",
        f"data.split_key=fold: no structure of data.path={file} has an entry of that name",
    ]

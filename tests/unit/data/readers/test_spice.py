"""SPICE's HDF5 is read with its units: forces are the negative gradient, in eV and Å."""

import h5py
import numpy as np
import pytest
from ase import units

from jointkd.data.readers import extxyz
from jointkd.data.readers.spice import FREE_ATOMS, read
from jointkd.errors import DataError

STIFFNESS = 0.4  # hartree/bohr²


def springs(path, without=()):
    """Two molecules of two atoms on a spring, with the layout of SPICE."""
    with h5py.File(path, "w") as file:
        for name, lengths in (("h2", (1.3, 1.4, 1.5)), ("hbr", (2.6, 2.7))):
            stretch = np.array(lengths) - lengths[0]
            positions = np.zeros((len(lengths), 2, 3), dtype="f4")
            positions[:, 1, 2] = lengths
            gradient = np.zeros_like(positions)
            gradient[:, 1, 2], gradient[:, 0, 2] = STIFFNESS * stretch, -STIFFNESS * stretch
            group = file.create_group(name)
            fields = {
                "atomic_numbers": np.array([1, 35 if name == "hbr" else 1], dtype="i2"),
                "conformations": positions,
                "dft_total_energy": -1.0 + STIFFNESS * stretch**2 / 2,
                "dft_total_gradient": gradient,
                "smiles": np.array([f"[{name}]"], dtype=h5py.string_dtype()),
                "subset": np.array(["SPICE Solvated Amino Acids Single Points Dataset v1.1"], h5py.string_dtype()),
            }
            for key, value in fields.items():
                if key not in without:
                    group[key] = value
    return path


def test_energies_forces_and_positions_are_in_electronvolt_and_angstrom(tmp_path):
    frames, free = read(springs(tmp_path / "a.hdf5"))
    one, two, three, *others = frames
    assert free is FREE_ATOMS
    assert len(others) == 2
    assert two.energy == pytest.approx((-1.0 + STIFFNESS * 0.1**2 / 2) * units.Hartree)
    assert two.positions[1, 2] == pytest.approx(1.4 * units.Bohr)
    slope = (three.energy - one.energy) / (three.positions[1, 2] - one.positions[1, 2])
    assert two.forces[1, 2] == pytest.approx(-slope, rel=1e-6)
    np.testing.assert_allclose(two.forces[0], -two.forces[1])


def test_a_frame_has_its_molecule_its_subset_and_its_source(tmp_path):
    *_, last = read(springs(tmp_path / "a.hdf5"))[0]
    assert last.numbers.tolist() == [1, 35]
    assert last.group == "[hbr]"
    assert last.info["smiles"] == "[hbr]"
    assert last.info["config_type"] == "SPICE Solvated Amino Acids Single Points Dataset v1.1"
    assert last.source == "a.hdf5 hbr conformation 1"
    assert not last.pbc.any()


def test_a_molecule_without_smiles_is_grouped_by_the_name_of_its_hdf5_group(tmp_path):
    frame = next(read(springs(tmp_path / "a.hdf5", without=["smiles", "subset"]))[0])
    assert frame.group == "h2"
    assert not frame.info


def test_a_file_without_energies_is_refused(tmp_path):
    path = springs(tmp_path / "a.hdf5", without=["dft_total_energy"])
    with pytest.raises(DataError, match=r"a.hdf5 h2 has no dft_total_energy \(it has atomic_numbers, conformations"):
        list(read(path)[0])


def test_inconsistent_shapes_are_refused(tmp_path):
    path = springs(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        del file["h2/dft_total_energy"]
        file["h2/dft_total_energy"] = np.zeros(2)
    with pytest.raises(
        DataError, match=r"a.hdf5 h2 must have dft_total_energy of real numbers and shape \[3\], not float64 \[2\]"
    ):
        list(read(path)[0])


def test_a_file_with_its_layout_is_read_with_the_keys_and_units_in_the_options(tmp_path):
    path = springs(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        for molecule in file.values():
            molecule["dipole"] = np.zeros((len(molecule["dft_total_energy"]), 3))
            molecule["gap"] = np.arange(len(molecule["dft_total_energy"]))
    units = {"energy": "hartree", "length": "bohr"}
    frames = list(extxyz.read(str(path), "dft_total_energy", "forces", units, group_key="smiles")[0])
    for frame, expected in zip(frames, read(path)[0], strict=True):
        np.testing.assert_allclose(frame.positions, expected.positions, rtol=1e-12)
        np.testing.assert_allclose(frame.forces, expected.forces, rtol=1e-7)
        assert frame.energy == pytest.approx(expected.energy, rel=1e-12)
        assert frame.group == expected.group
    assert frames[2].source == "a.hdf5 frame 2"
    assert frames[2].info["gap"] == 2
    assert frames[4].info["molecule"] == "hbr"


def test_forces_in_a_file_are_not_replaced_by_its_gradient(tmp_path):
    path = springs(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        for molecule in file.values():
            molecule["forces"] = np.full(molecule["conformations"].shape, 0.5)
    for frame in extxyz.read(str(path), "dft_total_energy", "forces", {"length": "bohr"})[0]:
        np.testing.assert_allclose(frame.forces, 0.5 / units.Bohr)


def test_a_file_that_is_not_hdf5_is_refused(tmp_path):
    (tmp_path / "a.hdf5").write_text("nothing")
    with pytest.raises(DataError, match=r"a.hdf5 must be readable HDF5"):
        list(read(tmp_path / "a.hdf5")[0])


ODD = {
    "a dataset instead of a group": lambda file: file.create_dataset("x", data=[1.0]),
    "a broken link": lambda file: file.__setitem__("x", h5py.SoftLink("/nowhere")),
    "a link to another file": lambda file: file.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")),
    "an empty group": lambda file: file.create_group("x"),
    "other names": lambda file: file.create_group("x").create_dataset("coordinates", data=np.zeros((1, 1, 3))),
    "a group instead of a field": lambda file: file.create_group("x/atomic_numbers"),
    "complex positions": lambda file: fill(file, conformations=np.zeros((2, 1, 3), dtype=complex)),
    "positions of one conformation": lambda file: fill(file, conformations=np.zeros((1, 3))),
    "positions of other atoms": lambda file: fill(file, conformations=np.zeros((2, 2, 3))),
    "positions as text": lambda file: fill(file, conformations=np.full((2, 1, 3), b"x")),
    "an empty field": lambda file: fill(file, conformations=h5py.Empty("f8")),
    "a scalar": lambda file: fill(file, atomic_numbers=3),
    "fractional atomic numbers": lambda file: fill(file, atomic_numbers=[1.5]),
    "unknown elements": lambda file: fill(file, atomic_numbers=[200]),
    "a compound": lambda file: fill(file, atomic_numbers=np.zeros(1, dtype=[("a", "i4")])),
}


def fill(file, **fields):
    group = file.create_group("x")
    for key, value in {"atomic_numbers": [1], "conformations": np.zeros((2, 1, 3)), **fields}.items():
        group[key] = value


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_content_is_refused_with_the_place(tmp_path, odd):
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        odd(file)
    with pytest.raises(DataError, match=r"a.hdf5 x (has no|must)"):
        list(extxyz.read(str(path), None, None)[0])
    with pytest.raises(DataError, match=r"a.hdf5 x (has no|must)"):
        list(read(path)[0])


def test_the_fields_that_are_needed_and_those_that_there_are_are_named(tmp_path):
    path = springs(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        for group in file.values():
            group.move("conformations", "coordinates")
    with pytest.raises(
        DataError,
        match=r"a.hdf5 h2 has no conformations \(it has atomic_numbers, coordinates, .*\); give an HDF5 file with "
        r"atomic_numbers \[N\] and conformations \[M, N, 3\]",
    ):
        list(extxyz.read(str(path), None, None)[0])


def test_other_fields_may_be_of_any_kind(tmp_path):
    path = springs(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        file["h2"]["complex"] = np.ones((3, 3), dtype=complex)
        file["h2"]["none"] = h5py.Empty("f8")
        file["h2"]["no text"] = np.array([], dtype=h5py.string_dtype())
        file["h2"].create_group("more")
    assert len(list(extxyz.read(str(path), "dft_total_energy", "forces")[0])) == 5


def test_a_field_that_claims_much_more_than_it_stores_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("jointkd.data.readers.spice.LARGE", 1000)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        fill(file, conformations=np.zeros((1, 1, 3)))
        del file["x/conformations"]
        file["x"].create_dataset("conformations", shape=(10**12, 1, 3), chunks=(1000, 1, 3))
    with pytest.raises(DataError, match=r"x: conformations claims 12,000,000,000,000 bytes and stores 0"):
        list(extxyz.read(str(tmp_path / "a.hdf5"), None, None)[0])


def test_units_that_the_file_states_are_compared(tmp_path):
    path = springs(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        file["h2/conformations"].attrs["units"] = "Bohr"
        file["h2/dft_total_energy"].attrs["units"] = "eV"
    with pytest.raises(DataError, match=r"a.hdf5 h2 states ev as the unit of dft_total_energy, and SPICE has hartree"):
        list(read(path)[0])
    with pytest.raises(DataError, match=r"states conformations_units=Bohr, and data.units.length=angstrom"):
        list(extxyz.read(str(path), "dft_total_energy", "forces")[0])

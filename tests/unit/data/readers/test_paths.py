"""A path may be a file, a folder, a pattern, a database or VASP outputs; skipped files are counted in the log."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write

from jointkd.data.readers import formats
from jointkd.data.readers.extxyz import read
from jointkd.errors import DataError, MissingExtra
from tests.files import FREE, isolated, molecules, saved
from tests.vasp import outcar, vasprun

KEYS = {"energy_key": "REF_energy", "forces_key": "REF_forces"}


def labelled(count):
    """The molecules with labels as results of a calculator."""
    structures = []
    for atoms in molecules(count):
        plain = Atoms(atoms.numbers, atoms.positions)
        plain.calc = SinglePointCalculator(plain, energy=atoms.info["REF_energy"], forces=atoms.arrays["REF_forces"])
        structures.append(plain)
    return structures


def relaxation(count=3):
    """Structures, energies and forces along a made-up relaxation of copper."""
    rng = np.random.default_rng(0)
    steps = []
    for step in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.positions += rng.normal(scale=0.05, size=(4, 3))
        steps.append((atoms, -14.0 - 0.1 * step, rng.normal(scale=0.1, size=(4, 3))))
    return steps


def assert_same(frames, steps):
    for frame, (atoms, energy, forces) in zip(frames, steps, strict=True):
        np.testing.assert_allclose(frame.positions, atoms.positions, atol=1e-5)
        np.testing.assert_allclose(frame.cell, atoms.cell.array, atol=1e-8)
        np.testing.assert_allclose(frame.forces, forces, atol=1e-5)
        assert frame.energy == pytest.approx(energy, abs=1e-6)
        assert frame.pbc.all()


def test_all_files_of_a_folder_are_read_in_alphabetical_order(tmp_path, caplog):
    (tmp_path / "b").mkdir()
    atoms = labelled(6)
    write(tmp_path / "b" / "two.traj", atoms[2:4])
    saved(tmp_path / "a.xyz", atoms[:2])
    write(tmp_path / "c.db", atoms[4:])
    (tmp_path / "notes.txt").write_text("nothing to see")
    (tmp_path / ".hidden.xyz").write_text("nothing to see")
    frames = list(read(str(tmp_path))[0])
    np.testing.assert_allclose([frame.energy for frame in frames], [a.get_potential_energy() for a in atoms])
    assert [frame.source for frame in frames[1:3]] == ["a.xyz frame 1", "b/two.traj frame 0"]
    assert "left out 1 files without readable structures (notes.txt)" in caplog.text


def test_each_file_may_be_a_group(tmp_path):
    for name in ("a", "b"):
        saved(tmp_path / f"{name}.xyz", labelled(2))
    frames = list(read(str(tmp_path), group_key="file")[0])
    assert [frame.group for frame in frames] == ["a.xyz", "a.xyz", "b.xyz", "b.xyz"]


def test_isolated_atoms_are_read_from_any_file_of_a_folder(tmp_path):
    saved(tmp_path / "a.xyz", molecules(2))
    saved(tmp_path / "z.xyz", isolated({1: -13.0}))
    frames, free = read(str(tmp_path), **KEYS)
    assert len(list(frames)) == 2
    assert free == {1: -13.0}


def test_a_pattern_selects_files(tmp_path):
    for name in ("a1", "a2", "b1"):
        saved(tmp_path / f"{name}.xyz", labelled(1))
    frames = list(read(f"{tmp_path}/a*.xyz")[0])
    assert [frame.info["file"] for frame in frames] == [f"{tmp_path}/a1.xyz", f"{tmp_path}/a2.xyz"]


@pytest.mark.parametrize("path", ["missing.xyz", "missing/*.xyz"])
def test_a_missing_path_is_refused(path):
    with pytest.raises(DataError, match=r"does not exist"):
        read(path)


def test_a_folder_without_structures_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(DataError, match=r"is a folder of 1 files, none of which ASE can read; set data.format"):
        read(str(tmp_path))


@pytest.mark.parametrize(("name", "make"), [("vasprun.xml", vasprun), ("OUTCAR", outcar)])
def test_outputs_of_vasp_are_read(tmp_path, name, make):
    steps = relaxation()
    assert_same(read(str(make(tmp_path / name, steps)))[0], steps)


def test_the_free_energy_of_vasp_can_be_read(tmp_path):
    steps = relaxation(1)
    frame = next(read(str(vasprun(tmp_path / "vasprun.xml", steps)), energy_key="free_energy")[0])
    assert frame.energy == pytest.approx(steps[0][1] - 0.01)


@pytest.mark.parametrize("key", ["energy", "free_energy"])
def test_energies_that_forces_may_not_belong_to_are_named(tmp_path, caplog, key):
    list(read(str(vasprun(tmp_path / "vasprun.xml", relaxation(2))), energy_key=key)[0])
    assert ("data.energy_key=free_energy learns that instead" in caplog.text) == (key == "energy")


def test_a_free_energy_that_equals_the_energy_is_not_named(tmp_path, caplog):
    atoms = bulk("Cu")
    atoms.calc = SinglePointCalculator(atoms, energy=-3.7, free_energy=-3.7, forces=np.zeros((1, 3)))
    write(tmp_path / "a.traj", atoms)
    list(read(str(tmp_path / "a.traj"))[0])
    assert "free_energy" not in caplog.text


def test_each_calculation_of_a_folder_is_read_once(tmp_path):
    steps = relaxation(2)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        outcar(tmp_path / name / "OUTCAR", steps)
        for other in ("POSCAR", "CONTCAR"):
            write(tmp_path / name / other, steps[0][0], format="vasp")
    vasprun(tmp_path / "two" / "vasprun.xml", steps)
    frames = list(read(str(tmp_path))[0])
    assert [frame.info["file"] for frame in frames] == 2 * ["one/OUTCAR"] + 2 * ["two/vasprun.xml"]
    assert_same(frames, steps + steps)


def test_a_database_of_ase_is_read_with_its_keys(tmp_path):
    with connect(tmp_path / "a.db") as database:
        for number, atoms in enumerate(labelled(3)):
            database.write(atoms, fold="test" if number == 2 else "train", gap=0.5 * number)
    frames = list(read(str(tmp_path / "a.db"), split_key="fold")[0])
    assert [frame.split for frame in frames] == ["train", "train", "test"]
    assert frames[2].info["gap"] == 1.0
    np.testing.assert_array_equal(frames[1].forces, labelled(2)[1].get_forces())


def test_a_database_with_lmdb_is_read(tmp_path):
    pytest.importorskip("ase_db_backends")
    with connect(tmp_path / "a.aselmdb", type="aselmdb") as database:
        for atoms in labelled(3):
            database.write(atoms, fold="train", data={"extra": 2.5})
    frames = list(read(str(tmp_path / "a.aselmdb"), split_key="fold")[0])
    assert [frame.energy for frame in frames] == [atoms.get_potential_energy() for atoms in labelled(3)]
    assert frames[0].split == "train"
    assert frames[0].info["extra"] == 2.5


def test_a_database_of_a_missing_package_is_refused_with_the_package_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ase_db_backends.aselmdb", None)
    (tmp_path / "a.aselmdb").write_bytes(b"")
    with pytest.raises(MissingExtra, match=r"a.aselmdb needs the package ase-db-backends; install it with pip install"):
        list(read(str(tmp_path / "a.aselmdb"))[0])


def test_a_frame_keeps_the_other_strings_and_numbers_of_its_file(tmp_path):
    atoms = labelled(1)[0]
    atoms.info.update(config_type="water", charge=1, gap=np.float64(0.5), dipole=np.zeros(3))
    frame = next(read(str(saved(tmp_path / "a.xyz", [atoms])))[0])
    assert frame.info == {"config_type": "water", "charge": 1, "gap": 0.5, "file": "a.xyz"}
    assert type(frame.info["gap"]) is float


def test_a_file_without_permission_is_not_reported_as_damaged(tmp_path, monkeypatch):
    def refuse(file, format):
        raise PermissionError(13, "Permission denied")

    path = saved(tmp_path / "a.xyz", labelled(1))
    monkeypatch.setattr(formats, "open_structures", refuse)
    with pytest.raises(DataError, match=r"a.xyz cannot be read after 0 frames .*denied.*; check its permissions"):
        list(read(str(path))[0])


def test_frames_are_read_on_demand(tmp_path):
    path = saved(tmp_path / "a.xyz", labelled(3))
    saved(tmp_path / "b.xyz", labelled(1)).write_text("3\nbroken")
    frames = read(str(tmp_path))[0]
    assert len([next(frames) for _ in range(3)]) == 3
    with pytest.raises(DataError, match=r"b.xyz cannot be read after 0 frames"):
        next(frames)
    assert path.exists()


def test_a_subfolder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    saved(tmp_path / "a.xyz", labelled(2))
    scan = os.scandir

    def refuse(folder):
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"the folder .*closed cannot be read \(Permission denied\); check its perm"):
        read(str(tmp_path))


@pytest.mark.parametrize("path", ["pipe.xyz", "*.xyz", "folder"])
def test_a_fifo_is_not_waited_for(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo("pipe.xyz")
    os.mkfifo("folder/pipe.xyz")
    with pytest.raises(DataError, match=r"is neither a file nor a folder|does not exist|is a folder of 0 files"):
        read(path)


@pytest.mark.parametrize("energies", [(-13.0, -12.5), (float("nan"),), (-13.0, float("inf"))])
def test_an_isolated_atom_with_two_energies_or_none_is_refused(tmp_path, energies):
    atoms = [atom for energy in energies for atom in isolated({1: energy})]
    with pytest.raises(DataError, match=r"isolated atom .*(has two energies, -13 and -12.5 eV|must be finite)"):
        list(read(str(saved(tmp_path / "a.xyz", [*molecules(2), *atoms])), **KEYS)[0])


def test_an_isolated_atom_may_be_repeated(tmp_path):
    frames, free = read(str(saved(tmp_path / "a.xyz", [*molecules(2), *isolated(), *isolated()])), **KEYS)
    assert len(list(frames)) == 2
    assert free == FREE

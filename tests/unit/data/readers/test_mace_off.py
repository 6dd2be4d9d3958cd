"""MACE-OFF's files are read as a stream, also from archives, and the official test file is the test split."""

import gzip
import io
import resource
import tarfile
from itertools import islice

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read as ase_read
from ase.io import write

from jointkd.data.readers.mace_off import read
from jointkd.data.readers.spice import FREE_ATOMS
from jointkd.errors import DataError
from tests.files import molecules


def published(path, count, smiles=True, start=0):
    """A file as ASE would have written it for MACE-OFF, with labels as results of a calculator."""
    structures = []
    for number, atoms in enumerate(molecules(start + count)[start:]):
        plain = Atoms(atoms.numbers, atoms.positions)
        plain.info = {"config_type": "Solvated Amino Acids" if number % 2 else "DES370K Monomers", "charge": 0.0}
        if smiles:
            plain.info["smiles"] = f"[{atoms.info['molecule']}:1]=C"
        plain.calc = SinglePointCalculator(plain, energy=atoms.info["REF_energy"], forces=atoms.arrays["REF_forces"])
        structures.append(plain)
    write(path, structures, format="extxyz")
    return path


def packed(path):
    """A .tar.gz archive with the file and a note."""
    archive = path.with_name(f"{path.stem}.tar.gz")
    with tarfile.open(archive, "w:gz") as tar:
        note = tarfile.TarInfo("._note")
        note.size = 4
        tar.addfile(note, io.BytesIO(b"note"))
        tar.add(path, arcname=f"folder/{path.name}")
    return archive


def test_every_frame_equals_the_one_that_ase_reads(tmp_path):
    path = published(tmp_path / "train.xyz", 7)
    frames, free = read(path)
    assert free is FREE_ATOMS
    for frame, atoms in zip(frames, ase_read(path, ":"), strict=True):
        np.testing.assert_array_equal(frame.numbers, atoms.numbers)
        np.testing.assert_array_equal(frame.positions, atoms.positions)
        np.testing.assert_array_equal(frame.forces, atoms.get_forces())
        assert frame.energy == atoms.get_potential_energy()
        assert frame.group == frame.info["smiles"] == atoms.info["smiles"]
        assert frame.info["config_type"] == atoms.info["config_type"]
        assert frame.split is None


def test_frames_of_the_test_file_are_assigned_to_the_test_split(tmp_path):
    train, test = published(tmp_path / "train.xyz", 4), published(tmp_path / "test.xyz", 3, start=4)
    frames = list(read(train, test)[0])
    assert [frame.split for frame in frames] == 4 * [None] + 3 * ["test"]
    assert frames[4].source == "test.xyz frame 0"


def test_archives_and_compressed_files_give_the_same_frames_as_the_plain_one(tmp_path):
    plain = published(tmp_path / "train.xyz", 5)
    small = tmp_path / "train.xyz.gz"
    small.write_bytes(gzip.compress(plain.read_bytes()))
    expected = [frame.key for frame in read(plain)[0]]
    for path in (packed(plain), small):
        assert [frame.key for frame in read(path)[0]] == expected


def test_a_frame_without_smiles_is_grouped_with_its_isomers(tmp_path):
    frames = list(read(published(tmp_path / "train.xyz", 3, smiles=False))[0])
    assert [frame.group for frame in frames] == ["H2O", "CH4O", "CH4"]


def test_labels_under_the_other_names_are_found(tmp_path):
    write(tmp_path / "a.xyz", molecules(2), format="extxyz")
    frame = next(read(tmp_path / "a.xyz")[0])
    assert frame.energy == pytest.approx(molecules(1)[0].info["REF_energy"])


def test_isolated_atoms_are_left_out(tmp_path):
    atoms = Atoms("H", info={"config_type": "IsolatedAtom", "energy": -13.6})
    path = published(tmp_path / "train.xyz", 2)
    write(tmp_path / "more.xyz", atoms, format="extxyz")
    path.write_text((tmp_path / "more.xyz").read_text() + path.read_text())
    assert [len(frame) for frame in read(path)[0]] == [3, 6]


def test_missing_labels_are_named_with_the_entries_of_the_frame(tmp_path):
    atoms = molecules(1)[0]
    atoms.info["strange_energy"] = atoms.info.pop("REF_energy")
    write(tmp_path / "a.xyz", atoms, format="extxyz")
    with pytest.raises(DataError, match=r"a.xyz frame 0 has no energy under any of .*\(it has .*strange_energy"):
        list(read(tmp_path / "a.xyz")[0])


@pytest.mark.parametrize("cut", [60, 200])
def test_an_error_in_a_truncated_file_gives_the_number_of_complete_frames(tmp_path, cut):
    path = published(tmp_path / "train.xyz", 3)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DataError, match=r"train.xyz cannot be read after 2 frames"):
        list(read(path)[0])


def test_a_truncated_archive_is_refused(tmp_path):
    path = packed(published(tmp_path / "train.xyz", 300))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"train.tar.gz cannot be read after \d+ frames"):
        list(read(path)[0])


def test_an_archive_without_structures_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("no")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "a.txt", arcname="a.txt")
    with pytest.raises(DataError, match=r"there is no .xyz file in it"):
        list(read(tmp_path / "a.tar.gz")[0])


def test_one_frame_at_a_time_is_in_memory(tmp_path):
    path = published(tmp_path / "train.xyz", 30)
    path.write_text(path.read_text() * 700)  # 20 MB; as frames it would be several times that
    frames = read(packed(path))[0]
    list(islice(frames, 100))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in frames) == 30 * 700 - 100
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000  # KB

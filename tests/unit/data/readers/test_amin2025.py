"""Published LMDB files are read; pickles that ask for anything but plain data are refused, and none of them is run."""

import copyreg
import functools
import io
import os
import pickle
import sys

import lmdb
import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from jointkd.data.readers.amin2025 import read
from jointkd.data.readers.spice import FREE_ATOMS
from jointkd.errors import ConfigError, DataError
from jointkd.files import safe_pickle
from tests.files import frames as molecules

SPLITS = ("train", "val", "test")


def stored(path, entries, length=None):
    """An LMDB file of pickles under "0", "1", … with their number under "length"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(path), subdir=False, map_size=1 << 24) as environment, environment.begin(write=True) as writing:
        for number, content in enumerate(entries):
            writing.put(str(number).encode(), content)
        writing.put(b"length", pickle.dumps(len(entries) if length is None else length))
    return path


def graph(frame, **more):
    """A Data as the prior art wrote it."""
    return Data(
        pos=torch.tensor(frame.positions, dtype=torch.float32),
        atomic_numbers=torch.tensor(frame.numbers, dtype=torch.float32),
        cell=30 * torch.eye(3)[None],
        natoms=torch.tensor([len(frame)]),
        y=torch.tensor([frame.energy], dtype=torch.float32),
        force=torch.tensor(frame.forces, dtype=torch.float32),
        sid=0,
        fid=7,
        smiles=frame.group,
        dataset_name="Solvated Amino Acids",
        **more,
    )


def published(folder, make=graph, count=3):
    """Three splits of `count` molecules each."""
    frames = molecules(3 * count)
    for number, split in enumerate(SPLITS):
        some = frames[number * count : (number + 1) * count]
        stored(folder / split / "data.lmdb", [pickle.dumps(make(frame), protocol=-1) for frame in some])
    return frames


def test_frames_are_read_with_their_splits(tmp_path):
    expected = published(tmp_path / "spice_separated" / "Iodine")
    frames, free = read(tmp_path, "SPICE/spice_separated/Iodine", "spice")
    frames = list(frames)
    assert free is FREE_ATOMS
    assert [frame.split for frame in frames] == [split for split in SPLITS for _ in range(3)]
    for frame, other in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame.numbers, other.numbers)
        np.testing.assert_allclose(frame.positions, other.positions, atol=1e-6)
        np.testing.assert_allclose(frame.forces, other.forces, atol=1e-5)
        assert frame.energy == pytest.approx(other.energy, rel=1e-6)
        assert frame.group == other.group
        assert not frame.pbc.any()
        assert not frame.cell.any()
    assert frames[4].source == "Iodine/val entry 1"
    assert frames[4].info == {"config_type": "Solvated Amino Acids", "smiles": "CH3OH", "frame_id": 7}


def test_the_energy_in_double_precision_is_preferred(tmp_path):
    def with_reference(frame):
        above = frame.energy - sum(FREE_ATOMS[int(z)] for z in frame.numbers)
        return graph(frame, reference_energy=torch.tensor([above], dtype=torch.float64))

    expected = published(tmp_path, with_reference)
    frames = read(tmp_path, "any", "spice")[0]
    np.testing.assert_allclose([f.energy for f in frames], [f.energy for f in expected], rtol=1e-13)


def test_crystals_have_cells_and_the_requested_energy(tmp_path):
    def crystal(frame):
        return Data(
            pos=torch.tensor(frame.positions),
            atomic_numbers=torch.tensor(frame.numbers),
            cell=5 * torch.eye(3, dtype=torch.float64)[None],
            uncorrected_total_energy=torch.tensor(-1.0),
            corrected_total_energy=-2.0,
            force=frame.forces,
            mp_id="mp-1",
            bandgap=np.float64(5.5),
        )

    published(tmp_path, crystal)
    raw, corrected = (next(read(tmp_path, "any", energy)[0]) for energy in ("uncorrected", "corrected"))
    assert (raw.energy, corrected.energy) == (-1.0, -2.0)
    assert raw.pbc.all()
    np.testing.assert_array_equal(raw.cell, 5 * np.eye(3))
    np.testing.assert_array_equal(raw.forces, molecules(1)[0].forces)
    assert raw.group == "mp-1"
    assert raw.info == {"mp_id": "mp-1", "bandgap": 5.5}
    with pytest.raises(ConfigError, match=r"data.energy='raw' is not known"):
        read(tmp_path, "any", "raw")


def test_graphs_of_torch_geometric_1_are_read(tmp_path, monkeypatch):
    """Version 1 pickled the fields as attributes of the object itself."""

    class Data:
        def __init__(self, **fields):
            self.__dict__.update(fields)

    Data.__module__, Data.__qualname__ = "torch_geometric.data.data", "Data"
    monkeypatch.setattr("torch_geometric.data.data.Data", Data)
    expected = published(tmp_path, lambda frame: Data(x=None, **graph(frame).to_dict()))
    monkeypatch.undo()
    frames = list(read(tmp_path, "any", "spice")[0])
    np.testing.assert_allclose(frames[5].positions, expected[5].positions, atol=1e-6)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_numbers_arrays_and_tensors_are_read_unchanged(protocol):
    values = {
        "single": torch.arange(6.0).reshape(2, 3).T,
        "integers": torch.tensor([1, 2]),
        "truth": torch.tensor([True, False]),
        "part": torch.arange(12.0, dtype=torch.float64).reshape(3, 4)[1:, ::2],
        "small": torch.tensor([[1, -2]], dtype=torch.int8),
        "nothing": torch.zeros(0, 3),
        "single number": torch.tensor(2.5),
        "matrix": np.arange(6.0).reshape(2, 3).T,
        "vector": np.arange(3, dtype=np.int32),
        "scalar": np.float64(2.5),
        "text": "CCO",
        "number": 3,
    }
    fields = safe_pickle.fields(safe_pickle.load(pickle.dumps(Data(**values), protocol=protocol)))
    assert fields.keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(fields[name], value)


def test_entries_are_counted_and_the_stored_number_is_ignored(tmp_path):
    for split in SPLITS:
        stored(tmp_path / split / "data.lmdb", [pickle.dumps(graph(frame)) for frame in molecules(12)], length=11)
    assert len(list(read(tmp_path, "any", "spice")[0])) == 36
    numbers = [frame.source for frame in read(tmp_path, "any", "spice")[0]]
    assert numbers[9:12] == [f"{tmp_path.name}/train entry {i}" for i in (9, 10, 11)]


class Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def in_tensor(content):
    """A pickle of a tensor whose storage is `content`, read by torch.load."""
    return pickle.dumps(Call(torch.storage._load_from_bytes, content))


def legacy(attack):
    """The format of torch.save before it wrote archives, with an attack as the object."""
    target = io.BytesIO()
    torch.save(attack, target, _use_new_zipfile_serialization=False)
    return target.getvalue()


def zipped(attack):
    target = io.BytesIO()
    torch.save(attack, target)
    return target.getvalue()


class Persistent(pickle.Pickler):
    def persistent_id(self, value):
        return Call(os.system, "true") if isinstance(value, bytearray) else None


def persistent():
    target = io.BytesIO()
    Persistent(target).dump([bytearray(b"x")])
    return target.getvalue()


def attacks(mark):
    """Pickles that would create the file `mark` if anything in them were run, by name."""
    touch = f"touch {mark}"
    code = f"open({str(mark)!r}, 'w')"
    return {
        "os.system": pickle.dumps(Call(os.system, touch)),
        "eval": pickle.dumps(Call(eval, code)),
        "exec": pickle.dumps(Call(exec, code)),
        "text protocol": f"cos\nsystem\n(S'{touch}'\ntR.".encode(),
        "posix": f"cposix\nsystem\n(S'{touch}'\ntR.".encode(),
        "import": pickle.dumps(Call(__import__, "os")),
        "getattr": pickle.dumps(Call(getattr, Data(), "to_dict")),
        "dotted name": b"\x80\x04\x8c\x19torch_geometric.data.data\x8c\rData.__init__\x93.",
        "module of Data": b"\x80\x04\x8c\x19torch_geometric.data.data\x8c\x05torch\x93.",
        "partial": pickle.dumps(functools.partial(os.system, touch)),
        "in a list": pickle.dumps([1, {"a": (Call(os.system, touch),)}]),
        "in a graph": pickle.dumps(Data(pos=torch.zeros(1, 3), y=Call(os.system, touch))),
        "as state": pickle.dumps(Data(pos=Call(eval, code))),
        "torch.load": pickle.dumps(Call(torch.load, io.BytesIO())),
        "legacy tensor": in_tensor(legacy(Call(os.system, touch))),
        "zipped tensor": in_tensor(zipped(Call(eval, code))),
        "pickle in a tensor": in_tensor(pickle.dumps(Call(os.system, touch))),
        "tensor in a tensor": in_tensor(legacy(Call(torch.storage._load_from_bytes, legacy(Call(os.system, touch))))),
        "persistent id": persistent(),
        "a plain persistent id": b"\x80\x02X\x01\x00\x00\x00aQ.",
        "a change of the reader": b"ctorch_geometric.data.data\nData\n(N}S'__setstate__'\n"
        b"ctorch._utils\n_rebuild_tensor_v2\nstb.",
        "a change of a type": in_tensor(
            legacy(torch.zeros(1).storage()).replace(b"FloatStorage\n", b"FloatStorage\n(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb")
        ),
        "numpy load": pickle.dumps(Call(np.load, "x.npy", None, True)),
        "numpy objects": pickle.dumps(np.array([Call(os.system, touch)], dtype=object)),
        "a type of numpy": pickle.dumps(np.dtype([("a", "O")])),
        "pickle.loads": pickle.dumps(Call(pickle.loads, pickle.dumps(Call(os.system, touch)))),
        "copyreg": pickle.dumps(Call(copyreg.add_extension, "os", "system", 1)),
        "beyond its storage": pickle.dumps(
            Call(torch._utils._rebuild_tensor_v2, torch.zeros(1).storage(), 0, (1000,), (1,), False, {})
        ),
        "before its storage": pickle.dumps(
            Call(torch._utils._rebuild_tensor_v2, torch.zeros(9).storage(), -1, (1,), (1,), False, {})
        ),
        "backwards": pickle.dumps(
            Call(torch._utils._rebuild_tensor_v2, torch.zeros(9).storage(), 8, (100,), (-1,), False, {})
        ),
        "short tensor": in_tensor(legacy(torch.zeros(9).storage())[:-8]),
        "nothing": b"",
        "noise": b"\x80\x05 no pickle",
        "cut off": pickle.dumps(Data(pos=torch.zeros(100, 3)))[:-50],
        "no graph": pickle.dumps({"pos": [1, 2, 3]}),
    }


@pytest.mark.parametrize("name", attacks("x"))
def test_a_pickle_that_asks_for_anything_else_is_refused_and_not_run(tmp_path, monkeypatch, name):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # as mace-torch sets it for its whole process
    mark = tmp_path / "mark"
    with_attack = attacks(mark)[name]
    for split in SPLITS:
        stored(tmp_path / "data" / split / "data.lmdb", [pickle.dumps(graph(molecules(1)[0])), with_attack])
    modules = set(sys.modules)
    frames = read(tmp_path / "data", "any", "spice")[0]
    first = next(frames)
    with pytest.raises(DataError, match=r"data.lmdb entry 1 is refused, because its pickle asks for ") as caught:
        next(frames)
    assert not mark.exists()
    assert "\n" not in str(caught.value)
    assert set(sys.modules) == modules
    again = next(read(tmp_path / "data", "any", "spice")[0])
    assert again.key == first.key


def test_these_attacks_work_on_an_unrestricted_unpickler(tmp_path):
    for name in ("os.system", "eval", "in a graph", "legacy tensor", "zipped tensor", "tensor in a tensor"):
        mark = tmp_path / name
        pickle.loads(attacks(mark.with_name(name.replace(" ", "_")))[name])
        assert mark.with_name(name.replace(" ", "_")).exists(), name


@pytest.mark.parametrize("missing", ["pos", "force", "y", "atomic_numbers"])
def test_a_missing_field_is_named_with_the_fields_of_the_entry(tmp_path, missing):
    def without(frame):
        data = graph(frame)
        del data[missing]
        return data

    published(tmp_path, without)
    with pytest.raises(DataError, match=rf"/train entry 0 has no {missing} or .*\(it has .*natoms"):
        list(read(tmp_path, "any", "spice")[0])


def test_fields_of_inconsistent_shapes_are_refused(tmp_path):
    published(tmp_path, lambda frame: graph(frame).update({"pos": torch.zeros(1, 3)}))
    with pytest.raises(DataError, match=r"/train entry 0 has fields of inconsistent shapes"):
        list(read(tmp_path, "any", "spice")[0])


def test_a_missing_subset_is_refused_with_the_doi_of_the_record(tmp_path):
    with pytest.raises(DataError, match=r"contains no folder SPICE/Iodine with train, .*; unpack the record doi:"):
        read(tmp_path, "SPICE/Iodine", "spice")


def test_a_file_that_is_not_lmdb_is_refused(tmp_path):
    for split in SPLITS:
        (tmp_path / split).mkdir()
        (tmp_path / split / "data.lmdb").write_bytes(10_000 * b"x")
    with pytest.raises(DataError, match=r"data.lmdb cannot be read"):
        list(read(tmp_path, "any", "spice")[0])

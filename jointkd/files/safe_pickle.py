"""Pickles of torch_geometric `Data`, read without running anything that a pickle asks for.

A pickle is a program: it may name any function of any package and have it called. Here a pickle may name only what
pickles of `Data` hold (`ADMITTED`), and even that is not what it is called: graphs, numpy's arrays and numpy's types
become the inert stand-ins below, which have no code to be misused, and of a tensor the bytes are read, not by
`torch.load`, whose own guard an environment variable can lift. So no class of torch or torch_geometric takes part, and
files of versions 1 and 2 of the latter read alike.
"""

import io
import pickle
import re
from collections import OrderedDict
from typing import Any

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C  # how torch begins what it saves outside of an archive
STORAGES = {  # by name, numpy's name of its numbers
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class Refused(Exception):
    """A pickle that asks for more than the data it should hold."""


class Fixed(type):
    """Of classes that a pickle can get hold of: it may not change them for those that come after it."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise Refused(f"a change of {cls.__name__}")


class Graph(metaclass=Fixed):
    """Stands in for `Data` and its storages: attributes and nothing else."""


class NumberType(metaclass=Fixed):
    """Stands in for `numpy.dtype`; only plain numbers in little-endian order."""

    def __init__(self, code: str, *_: Any) -> None:
        if not re.fullmatch(r"[biuf][1248]", str(code)):
            raise Refused(f"numpy type {code}")
        self.code = f"<{code}"

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", "|", "="):
            raise Refused(f"numpy byte order {state[1]}")


class Array(metaclass=Fixed):
    """Stands in for `numpy.ndarray` while its content is still to come."""

    values: np.ndarray

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        self.values = buffer(content, kind, shape, "F" if fortran else "C")


def empty_array(*_: Any) -> Array:
    return Array()


def buffer(content: Any, kind: NumberType, shape: tuple[int, ...], order: str) -> np.ndarray:
    """For numpy's `_frombuffer`."""
    return np.frombuffer(content, kind.code).reshape(shape, order="F" if order == "F" else "C")


def scalar(kind: NumberType, content: bytes) -> Any:
    """For numpy's `scalar`."""
    return np.frombuffer(content, kind.code)[0]


def storage(content: bytes) -> np.ndarray:
    """For torch's `_load_from_bytes`: the numbers of a tensor, in one row.

    They come as pickles of a magic number, a version, the byte order, the type and count, and the names of storages,
    and then as a count of eight bytes and the numbers themselves.
    """
    file = io.BytesIO(content)
    magic, _, system = (Nothing(file).load() for _ in range(3))
    if magic != MAGIC or system["little_endian"] is not True:
        raise Refused("a tensor in an unknown format")
    kind, count = OneStorage(file).load()
    Nothing(file).load()
    if int.from_bytes(file.read(8), "little") != count:
        raise Refused("a tensor whose counts do not agree")
    return np.frombuffer(file.read(), kind, count)


def tensor(numbers: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> np.ndarray:
    """For torch's `_rebuild_tensor_v2`. Raises Refused for what lies outside of the numbers."""
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or (0 not in size and last >= len(numbers)):
        raise Refused("a part of a tensor that is not there")
    steps = [step * numbers.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(numbers[offset:], size, steps).copy()


class Marker(metaclass=Fixed):
    """Stands in for classes that a `Data` only mentions."""


ADMITTED: dict[tuple[str, str], Any] = {
    ("torch_geometric.data.data", "Data"): Graph,
    ("torch_geometric.data.storage", "GlobalStorage"): Graph,
    ("torch_geometric.data.data", "DataEdgeAttr"): Marker,
    ("torch_geometric.data.data", "DataTensorAttr"): Marker,
    ("torch._utils", "_rebuild_tensor_v2"): tensor,
    ("torch.storage", "_load_from_bytes"): storage,
    ("torch", "Size"): tuple,
    ("collections", "OrderedDict"): OrderedDict,  # of a tensor's hooks; empty
    ("numpy", "dtype"): NumberType,
    ("numpy", "ndarray"): Array,
    ("numpy.core.multiarray", "scalar"): scalar,  # `core` before numpy 2, `_core` since
    ("numpy.core.multiarray", "_reconstruct"): empty_array,
    ("numpy.core.numeric", "_frombuffer"): buffer,
    ("numpy._core.multiarray", "scalar"): scalar,
    ("numpy._core.multiarray", "_reconstruct"): empty_array,
    ("numpy._core.numeric", "_frombuffer"): buffer,
}


class Nothing(pickle.Unpickler):
    """Reads numbers, text and containers, and finds nothing."""

    def find_class(self, module: str, name: str) -> Any:
        raise Refused(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise Refused("an object outside of the file")


class OneStorage(Nothing):
    """Reads the type and the count of one storage."""

    def find_class(self, module: str, name: str) -> Any:
        return STORAGES[name] if module == "torch" and name in STORAGES else super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        _, kind, _, _, count, *_ = pid
        return kind, count


class Reader(Nothing):
    """Finds only what is admitted."""

    def find_class(self, module: str, name: str) -> Any:
        return ADMITTED[module, name] if (module, name) in ADMITTED else super().find_class(module, name)


def load(content: bytes) -> Any:
    """The object in a pickle: a Graph, or plain numbers, text and containers.

    Raises Refused for a pickle that names what it should not, or that is none.
    """
    try:
        return Reader(io.BytesIO(content)).load()
    except Refused:
        raise
    except Exception as error:  # a hostile or broken pickle may raise anything
        first = (str(error).splitlines() or [""])[0]
        raise Refused(f"what cannot be read ({type(error).__name__}: {first})") from error


def fields(graph: Any) -> dict[str, Any]:
    """What a `Data` holds by name, tensors as arrays. Raises Refused where it is none."""
    if not isinstance(graph, Graph):
        raise Refused(f"a {type(graph).__name__} where a torch_geometric Data should be")
    held = vars(graph)
    if isinstance(held.get("_store"), Graph):  # torch_geometric 2
        held = vars(held["_store"]).get("_mapping", {})
    plain = {name: value.values if isinstance(value, Array) else value for name, value in held.items()}
    return {name: value for name, value in plain.items() if value is not None}

"""Reads pickles of torch_geometric `Data` without running code from them.

A pickle is a program: it can name any function of any package and have it called. This reader admits only the names
that occur in pickles of `Data` (`ADMITTED`), and replaces them: graphs, numpy arrays and numpy dtypes become the inert
stand-ins below, which have no methods to misuse, and the bytes of tensors are decoded here rather than by `torch.load`,
whose protection an environment variable can switch off. No class of torch or torch_geometric is involved, so pickles of
torch_geometric 1 and 2 are read alike.
"""

import io
import pickle
import re
from collections import OrderedDict
from typing import Any

import numpy as np

from jointkd.errors import first_line

MAGIC = 0x1950A86A20F9469CFC6C  # the first number of a tensor that torch saved in its legacy format
STORAGES = {  # numpy dtype of each kind of storage
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
    """A pickle that is damaged, or asks for something that is not admitted; the message names it."""


class Fixed(type):
    """Metaclass of the stand-ins: a pickle cannot set attributes of the class, which would affect later pickles."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise Refused(f"a change of the class {cls.__name__}")


class Graph(metaclass=Fixed):
    """Stand-in for `Data` and its storages: it has attributes and nothing else."""


class NumberType(metaclass=Fixed):
    """Stand-in for `numpy.dtype`; admits only numbers in little-endian order."""

    def __init__(self, code: str, *_: Any) -> None:
        if not re.fullmatch(r"[biuf][1248]", str(code)):
            raise Refused(f"the numpy dtype {code}")
        self.code = f"<{code}"

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", "|", "="):
            raise Refused(f"the numpy byte order {state[1]}")


class Array(metaclass=Fixed):
    """Stand-in for `numpy.ndarray`, which a pickle creates empty and fills afterwards."""

    values: np.ndarray

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        self.values = buffer(content, kind, shape, "F" if fortran else "C")


def empty_array(*_: Any) -> Array:
    """Stand-in for `_reconstruct` of numpy."""
    return Array()


def buffer(content: Any, kind: NumberType, shape: tuple[int, ...], order: str) -> np.ndarray:
    """Stand-in for `_frombuffer` of numpy."""
    return np.frombuffer(content, kind.code).reshape(shape, order="F" if order == "F" else "C")


def scalar(kind: NumberType, content: bytes) -> Any:
    """Stand-in for `scalar` of numpy."""
    return np.frombuffer(content, kind.code)[0]


def storage(content: bytes) -> np.ndarray:
    """Stand-in for `_load_from_bytes` of torch: the numbers of a storage, as a one-dimensional array.

    The content consists of pickles (a magic number, the version, the byte order, the storage's type and length, the
    names of the storages), the length as an integer of eight bytes, and the numbers.
    """
    file = io.BytesIO(content)
    magic, _, system = (PlainUnpickler(file).load() for _ in range(3))
    if magic != MAGIC or system["little_endian"] is not True:
        raise Refused("a tensor in an unknown format")
    kind, length = StorageUnpickler(file).load()
    PlainUnpickler(file).load()
    if int.from_bytes(file.read(8), "little") != length:
        raise Refused("a tensor whose lengths do not agree")
    return np.frombuffer(file.read(), kind, length)


def tensor(numbers: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> np.ndarray:
    """Stand-in for `_rebuild_tensor_v2` of torch. Raises Refused for indices outside the storage."""
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or (0 not in size and last >= len(numbers)):
        raise Refused("a tensor that exceeds its storage")
    steps = [step * numbers.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(numbers[offset:], size, steps).copy()


class Marker(metaclass=Fixed):
    """Stand-in for classes that a pickle of `Data` names without using them."""


ADMITTED: dict[tuple[str, str], Any] = {
    ("torch_geometric.data.data", "Data"): Graph,
    ("torch_geometric.data.storage", "GlobalStorage"): Graph,
    ("torch_geometric.data.data", "DataEdgeAttr"): Marker,
    ("torch_geometric.data.data", "DataTensorAttr"): Marker,
    ("torch._utils", "_rebuild_tensor_v2"): tensor,
    ("torch.storage", "_load_from_bytes"): storage,
    ("torch", "Size"): tuple,
    ("collections", "OrderedDict"): OrderedDict,  # the hooks of a tensor, which are empty
    ("numpy", "dtype"): NumberType,
    ("numpy", "ndarray"): Array,
    ("numpy.core.multiarray", "scalar"): scalar,  # `core` before numpy 2, `_core` since
    ("numpy.core.multiarray", "_reconstruct"): empty_array,
    ("numpy.core.numeric", "_frombuffer"): buffer,
    ("numpy._core.multiarray", "scalar"): scalar,
    ("numpy._core.multiarray", "_reconstruct"): empty_array,
    ("numpy._core.numeric", "_frombuffer"): buffer,
}


class PlainUnpickler(pickle.Unpickler):
    """Reads numbers, text and containers, and admits no name."""

    def find_class(self, module: str, name: str) -> Any:
        raise Refused(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise Refused("an object outside the file")


class StorageUnpickler(PlainUnpickler):
    """Reads the dtype and the length of one storage."""

    def find_class(self, module: str, name: str) -> Any:
        return STORAGES[name] if module == "torch" and name in STORAGES else super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        _, kind, _, _, length, *_ = pid
        return kind, length


class DataUnpickler(PlainUnpickler):
    """Replaces the admitted names by their stand-ins."""

    def find_class(self, module: str, name: str) -> Any:
        return ADMITTED[module, name] if (module, name) in ADMITTED else super().find_class(module, name)


def load(content: bytes) -> Any:
    """The object in a pickle: a Graph, or numbers, text and containers.

    Raises Refused for a pickle that needs a name which is not admitted, and for a damaged one.
    """
    try:
        return DataUnpickler(io.BytesIO(content)).load()
    except Refused:
        raise
    except Exception as error:  # a hostile or broken pickle may raise anything
        raise Refused(f"data that cannot be read ({type(error).__name__}: {first_line(error)})") from error


def fields(graph: Any) -> dict[str, Any]:
    """The fields of a `Data` by name, tensors as arrays. Raises Refused for any other object."""
    if not isinstance(graph, Graph):
        raise Refused(f"a {type(graph).__name__} in place of a torch_geometric Data")
    attributes = vars(graph)
    if isinstance(attributes.get("_store"), Graph):  # torch_geometric 2
        attributes = vars(attributes["_store"]).get("_mapping", {})
    values = {name: value.values if isinstance(value, Array) else value for name, value in attributes.items()}
    return {name: value for name, value in values.items() if value is not None}

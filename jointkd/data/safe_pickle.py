"""Pickles of torch_geometric `Data`, read without running anything that a pickle asks for.

A pickle is a program: it may name any function of any package and have it called. Here a pickle may name only what
pickles of `Data` hold (`ADMITTED`), and even that is not what it is called: graphs, numpy's arrays and numpy's types
become the inert stand-ins below, which have no code to be misused, and tensors are rebuilt by `torch.load` in its own
restricted mode. So no class of torch_geometric takes part, and files of its versions 1 and 2 read alike.
"""

import io
import pickle
import re
import warnings
from collections import OrderedDict
from typing import Any

import numpy as np
import torch


class Refused(Exception):
    """A pickle that asks for more than the data it should hold."""


class Graph:
    """Stands in for `Data` and its storages: attributes and nothing else."""


class NumberType:
    """Stands in for `numpy.dtype`; only plain numbers in little-endian order."""

    def __init__(self, code: str, *_: Any) -> None:
        if not re.fullmatch(r"[biuf][1248]", str(code)):
            raise Refused(f"numpy type {code}")
        self.code = f"<{code}"

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", "|", "="):
            raise Refused(f"numpy byte order {state[1]}")


class Array:
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


def storage(content: bytes) -> Any:
    """For torch's `_load_from_bytes`, which would run what a pickle inside this pickle asks for."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> torch.Tensor:
    """For torch's `_rebuild_tensor_v2`. torch refuses a size that the storage does not have."""
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage, offset, size, stride)


class Marker:
    """Stands in for classes that a `Data` only mentions."""


ADMITTED: dict[tuple[str, str], Any] = {
    ("torch_geometric.data.data", "Data"): Graph,
    ("torch_geometric.data.storage", "GlobalStorage"): Graph,
    ("torch_geometric.data.data", "DataEdgeAttr"): Marker,
    ("torch_geometric.data.data", "DataTensorAttr"): Marker,
    ("torch._utils", "_rebuild_tensor_v2"): tensor,
    ("torch.storage", "_load_from_bytes"): storage,
    ("torch", "Size"): torch.Size,
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


class Reader(pickle.Unpickler):
    """Finds only what is admitted."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise Refused(f"{module}.{name}")
        return ADMITTED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise Refused("an object outside of the file")


def load(content: bytes) -> Any:
    """The object in a pickle: a Graph, or plain numbers, text and containers.

    Raises Refused for a pickle that names what it should not, or that is none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of how storages were typed when the files were made
            return Reader(io.BytesIO(content)).load()
    except Refused:
        raise
    except Exception as error:  # a hostile or broken pickle may raise anything
        first = (str(error).splitlines() or [""])[0]
        raise Refused(f"what cannot be read ({type(error).__name__}: {first})") from error


def fields(graph: Any) -> dict[str, Any]:
    """What a `Data` holds by name; tensors and arrays as numpy. Raises Refused where it is none."""
    if not isinstance(graph, Graph):
        raise Refused(f"a {type(graph).__name__} where a torch_geometric Data should be")
    held = vars(graph)
    if isinstance(held.get("_store"), Graph):  # torch_geometric 2
        held = vars(held["_store"]).get("_mapping", {})
    return {name: as_numpy(value) for name, value in held.items() if value is not None}


def as_numpy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.numpy()
    return value.values if isinstance(value, Array) else value

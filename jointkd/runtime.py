"""What this process computes on and in: device, precision, and memory that it keeps."""

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from jointkd.errors import ConfigError

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # names of malloc.h


def keep_freed_memory() -> None:
    """Keep freed memory for what is allocated next, where the C library is glibc.

    glibc returns memory to the system whenever much of it is free, which at the end of a step nearly all is, and the
    system must then clear every page again. On a CPU training takes 5 to 10 % longer for it, labelling 30 %, and a
    simulation of thousands of atoms with an exported student 20 to 60 %.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, -1)  # never
        mallopt(MMAP_MAX, 0)  # and take everything from the heap, or large blocks are returned at once


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Within the block, tensors that are made without a dtype have this one, also inside the models of others."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def device_of(device: str | None, option: str = "device") -> str:
    """The device that is named, or cuda where there is one, else cpu.

    Raises ConfigError if it is not here, or cannot compute (as `meta`). option: its name, for the message.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        kind = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"{option}={device} is not a device", "give cpu, cuda or cuda:1, or leave it out") from error
    try:
        torch.zeros(1, device=kind).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise ConfigError(f"{option}={device} is not here, or not for this torch", f"leave out {option}") from error
    return device


def hardware(device: torch.device) -> dict[str, Any]:
    """What this process computes on, for records of a run. device: that of the computation."""
    described: dict[str, Any] = {"processor": processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
        described["gpu_memory_GB"] = round(torch.cuda.get_device_properties(device).total_memory / 1e9, 1)
    return described


def processor() -> str:
    """The name of the processor, as far as the system tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def somebody_watches() -> bool:
    """Whether somebody watches the output as it is written: on a terminal, or in a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def compiler_options() -> AbstractContextManager[Any]:
    """Within it, torch's compiler does without what makes sums over edges wrong on a CPU: vectorised ends of loops."""
    from torch._inductor import config  # takes a second

    return config.patch({"cpp.enable_loop_tail_vec": False})

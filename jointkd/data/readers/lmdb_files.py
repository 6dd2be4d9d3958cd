"""LMDB files: a truncated one is refused before it is mapped, because reading beyond its end would kill the process."""

import struct
import subprocess
import sys
from pathlib import Path

MAGIC = 0xBEEFC0DE
HEADER = struct.Struct("<16x I I Q Q I 92x Q Q")  # of a meta page; see `meta_page`
SMALLEST = 512  # bytes of a page
READ_ALL = """
import lmdb, sys
with lmdb.open(sys.argv[1], subdir=False, readonly=True, lock=False) as file, file.begin() as transaction:
    print(sum(len(bytes(value)) for _, value in transaction.cursor()))
"""  # for another process, which may be killed


def check_whole(file: Path) -> None:
    """Raise ValueError for a file that is not LMDB, or that is shorter than the pages that it counts.

    The last pages may be missing where LMDB freed them before it wrote them: another process then tries to read all.
    """
    if not file.is_file():
        raise ValueError("it is not a regular file")
    size = file.stat().st_size
    with file.open("rb") as stream:
        _, page_size, *_ = first = meta_page(stream.read(HEADER.size))
        stream.seek(page_size)
        second = meta_page(stream.read(HEADER.size))
    _, _, last = max(first, second)
    needed = (last + 1) * page_size
    if size < needed and not readable(file):
        raise ValueError(f"it has {size:,} of the {needed:,} bytes that it says it has")


def readable(file: Path) -> bool:
    """Whether another process can read all entries."""
    return not subprocess.run([sys.executable, "-c", READ_ALL, str(file)], capture_output=True, check=False).returncode


def meta_page(content: bytes) -> tuple[int, int, int]:
    """Transaction, bytes per page and last page of a meta page. Raises ValueError."""
    if len(content) < HEADER.size:
        raise ValueError("it is too short for an LMDB file")
    magic, _, _, _, page_size, last, transaction = HEADER.unpack(content)
    if magic != MAGIC or page_size < SMALLEST:
        raise ValueError("it is not an LMDB file")
    return transaction, page_size, last

"""A file from the network: resumed where it stopped, compared with its checksum, whole under its name or not there."""

import hashlib
import http.client
import logging
import os
import shutil
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock
from tqdm import tqdm

from jointkd.errors import DataError, StorageError

log = logging.getLogger(__name__)

AGENT = "Mozilla/5.0 (compatible; jointkd)"  # some repositories refuse what does not call itself a browser
CHUNK = 1 << 20  # bytes
PATIENCE = 60.0  # s without a byte, after which a connection counts as lost
TRIES = 4  # connections in a row that brought nothing
PAUSE = 2.0  # s before the next of them
BUSY = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that may pass


class Interrupted(Exception):
    """A connection that ended before the file did, or was not made."""


def fetch(url: str, path: Path, sha256: str | None = None, origin: str | None = None) -> Path:
    """The file of `url` under `path`; downloaded if it is not there.

    sha256: the publisher's checksum in hexadecimal. Where there is none, that of the first download is written to
    `<path>.sha256` and every later call compares with it. origin: where a person finds the file (a DOI), for messages.

    A download that was cut off goes on where it stopped, in this call or a later one, unless the file has changed
    on the server since. Several processes may call this for one path: one downloads and the others wait.
    Raises DataError where there is no network, no such file, or another checksum; StorageError where the disk is full.
    """
    part = Part(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if path.exists():
                compare(path, path, sha256, f"remove it and run again to download it anew from {url}")
                return path
            download(url, part, f"get {path.name} from {origin or url} and put it at {path}")
            try:
                compare(part.path, path, sha256, f"run again; if that does not help, {url} is not what it was")
            except DataError:
                part.discard()
                raise
            part.finish()
    except OSError as error:  # of the disk: those of the network are dealt with in `download`
        raise StorageError(
            f"{error.filename or part.path} cannot be written ({error.strerror})",
            "put that right and run again: a download goes on where it stopped",
        ) from error
    return path


def compare(file: Path, path: Path, sha256: str | None, remedy: str) -> None:
    """Compare `file`, which is or will be `path`, with its checksum, or with that in `<path>.sha256`, which is written
    if it is not there. Raises DataError."""
    record = path.with_name(f"{path.name}.sha256")
    found = checksum(file)
    if sha256 is not None:
        expected, whose = sha256.lower(), "its publisher's"
    elif record.exists():
        expected, whose = record.read_text().split()[0], f"the one in {record}"
    else:
        partial = record.with_name(f"{record.name}.part")
        partial.write_text(f"{found}  {path.name}\n")
        partial.replace(record)
        return
    if found != expected:
        raise DataError(f"the checksum of {path} is {found[:12]}… and {whose} {expected[:12]}…", remedy)


def checksum(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Part:
    """A file on its way: `<path>.part`, and in `<path>.part.version` the server's name for what it is a part of."""

    def __init__(self, path: Path) -> None:
        self.final = path
        self.path = path.with_name(f"{path.name}.part")
        self.version = path.with_name(f"{path.name}.part.version")

    def headers(self) -> dict[str, str]:
        """What asks for the rest, if the server still has the same file. A part of an unknown version is not used."""
        if self.size and self.version.exists():
            return {"Range": f"bytes={self.size}-", "If-Range": self.version.read_text()}
        return {}

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def open(self, response: Any) -> BinaryIO:
        """The file to write the body of a response to: its end where the server goes on, else anew."""
        if response.status == http.client.PARTIAL_CONTENT and begins_at(response) == self.size:
            return self.path.open("ab")
        strong = response.headers.get("ETag", "W/")
        version = response.headers.get("Last-Modified") if strong.startswith("W/") else strong
        self.version.unlink(missing_ok=True)
        file = self.path.open("wb")
        if version:
            self.version.write_text(version)
        return file

    def finish(self) -> None:
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.path.replace(self.final)
        self.version.unlink(missing_ok=True)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.version.unlink(missing_ok=True)


def download(url: str, part: Part, by_hand: str) -> None:
    """Bring `part` to its full size, over several connections if need be."""
    tries = 0
    while True:
        before = part.size
        try:
            receive(url, part)
            return
        except urllib.error.HTTPError as error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and before:
                if error.headers.get("Content-Range", "").endswith(f"/{before}"):
                    return  # the part is the whole
                part.discard()
                continue
            if error.code not in BUSY:
                raise DataError(f"{url} is not there (HTTP {error.code} {error.reason})", by_hand) from error
            reason: Any = f"HTTP {error.code} {error.reason}"
        except urllib.error.URLError as error:
            reason = error.reason
        except (Interrupted, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            reason = error or type(error).__name__
        tries = 1 if part.size > before else tries + 1
        if tries >= TRIES:
            reached = f"was cut off after {part.size} bytes" if part.size else "cannot be reached"
            again = "run again to go on from there, or " if part.size else ""
            raise DataError(f"{url} {reached} ({reason})", again + by_hand)
        time.sleep(PAUSE)


def receive(url: str, part: Part) -> None:
    """One connection: append what it brings. Raises Interrupted where that is not the whole rest."""
    request = urllib.request.Request(url, headers={"User-Agent": AGENT, **part.headers()})
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        if response.status == http.client.ACCEPTED:  # "later", or a question that only a browser answers
            raise Interrupted("HTTP 202, no file")
        write(response, part)


def write(response: Any, part: Part) -> None:
    """Append the body of a response. Raises Interrupted where it is shorter than its header says."""
    with part.open(response) as file:
        done = file.tell()
        length = response.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        if total is not None:
            check_space(part.path, total - done)
        with Progress(part.final.name, done, total) as progress:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                progress.add(len(chunk))
        if total is not None and file.tell() != total:
            raise Interrupted(f"{file.tell()} of {total} bytes came")


def begins_at(response: Any) -> int | None:
    """The first byte of the range that a response brings, from `Content-Range: bytes 5-9/10`."""
    unit, _, span = response.headers.get("Content-Range", "").partition(" ")
    first = span.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdigit() else None


def check_space(path: Path, wanted: int) -> None:
    """Raises StorageError where fewer than `wanted` bytes are free: better before hours of download than after."""
    free = shutil.disk_usage(path.parent).free
    if free < wanted:
        raise StorageError(
            f"{path.parent} has {free / 1e9:.1f} GB free and {path.name} needs {wanted / 1e9:.1f} GB more",
            "free some space or choose another directory",
        )


class Progress:
    """How much has come: a bar on a terminal, else a line for every tenth."""

    def __init__(self, name: str, done: int, total: int | None) -> None:
        self.name, self.total = name, total
        self.bar = tqdm(total=total, initial=done, desc=name, unit="B", unit_scale=True, disable=None)
        self.done, self.said = done, 10 * done // total if total else 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def add(self, count: int) -> None:
        self.done += count
        self.bar.update(count)
        tenths = 10 * self.done // self.total if self.total else self.done // 10**9
        if self.bar.disable and tenths > self.said:
            of = f" of {self.total / 1e6:.1f}" if self.total else ""
            log.info("download of %s: %.1f%s MB", self.name, self.done / 1e6, of)
            self.said = tenths

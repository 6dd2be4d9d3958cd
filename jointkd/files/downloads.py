"""Downloads that resume where they stopped, are verified by a checksum, and exist either completely or not at all."""

import http.client
import os
import shutil
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from jointkd.errors import DataError, StorageError
from jointkd.files.atomic import file_sha256, write_whole
from jointkd.progress import Progress

AGENT = "Mozilla/5.0 (compatible; jointkd)"  # some repositories refuse clients that are not browsers
CHUNK = 1 << 20  # bytes
PATIENCE = 60.0  # s; a connection counts as lost when no byte arrives for so long
TRIES = 4  # the download fails after so many successive connections that brought nothing
PAUSE = 2.0  # s between two connections
BUSY = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses of temporary failures


class Interrupted(Exception):
    """A connection that failed, or ended before the file was complete."""


def fetch(url: str, path: Path, sha256: str | None = None, origin: str | None = None) -> Path:
    """Download `url` to `path`, unless the file exists, and return `path`.

    sha256: the publisher's checksum in hexadecimal. If it is None, the checksum of the first download is written to
    `<path>.sha256`, and every later call compares with it. origin: where a person finds the file (a DOI), for messages.

    An interrupted download continues where it stopped, in this call or a later one, unless the file on the server has
    changed. Several processes may call this function for one path: one of them downloads, and the others wait.
    Raises DataError if the server cannot be reached, the file does not exist there or its checksum differs, and
    StorageError if the file cannot be written.
    """
    part = PartialFile(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if path.exists():
                check_checksum(path, path, sha256, f"remove it and run again to download it anew from {url}")
                return path
            download(url, part, f"get {path.name} from {origin or url} and put it at {path}")
            try:
                check_checksum(part.path, path, sha256, f"run again; if that does not help, {url} has changed")
            except DataError:
                part.discard()
                raise
            part.finish()
    except OSError as error:  # of the disk: `download` handles those of the network
        raise StorageError(
            f"{error.filename or part.path} cannot be written ({error.strerror})",
            "correct that and run again: the download continues where it stopped",
        ) from error
    return path


def check_checksum(file: Path, path: Path, sha256: str | None, remedy: str) -> None:
    """Raise DataError if the checksum of `file`, which is or will become `path`, is not the expected one.

    Expected is `sha256`, else the content of `<path>.sha256`; if neither exists, that record is written.
    """
    record = path.with_name(f"{path.name}.sha256")
    actual = file_sha256(file)
    if sha256 is not None:
        expected, source = sha256.lower(), "its publisher's"
    elif record.exists():
        expected, source = record.read_text(encoding="utf-8").split()[0], f"the one in {record}"
    else:
        write_whole(record, f"{actual}  {path.name}\n".encode())
        return
    if actual != expected:
        raise DataError(f"the checksum of {path} is {actual[:12]}… and {source} {expected[:12]}…", remedy)


class PartialFile:
    """An incomplete download: its bytes in `<path>.part`, the server's identifier of that version in `….version`."""

    def __init__(self, path: Path) -> None:
        self.final = path
        self.path = path.with_name(f"{path.name}.part")
        self.version = path.with_name(f"{path.name}.part.version")

    def headers(self) -> dict[str, str]:
        """HTTP headers that request the rest of the same version; none if the version of the part is unknown."""
        if self.size and self.version.exists():
            return {"Range": f"bytes={self.size}-", "If-Range": self.version.read_text(encoding="utf-8")}
        return {}

    @property
    def size(self) -> int:
        """Number of bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def open(self, response: Any) -> BinaryIO:
        """The file, opened to append the body of a response; emptied first unless the response continues it."""
        if response.status == http.client.PARTIAL_CONTENT and first_byte(response) == self.size:
            return self.path.open("ab")
        etag = response.headers.get("ETag", "W/")
        version = response.headers.get("Last-Modified") if etag.startswith("W/") else etag  # not a weak one
        self.version.unlink(missing_ok=True)
        file = self.path.open("wb")
        if version:
            self.version.write_text(version, encoding="utf-8")
        return file

    def finish(self) -> None:
        """Give the complete file its final name."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.path.replace(self.final)
        self.version.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the bytes and their version."""
        self.path.unlink(missing_ok=True)
        self.version.unlink(missing_ok=True)


def download(url: str, part: PartialFile, manual_remedy: str) -> None:
    """Complete `part`, over several connections if necessary. Raises DataError; its remedy is to fetch by hand."""
    tries = 0
    while True:
        before = part.size
        try:
            receive(url, part)
            return
        except urllib.error.HTTPError as error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and before:
                if error.headers.get("Content-Range", "").endswith(f"/{before}"):
                    return  # the part is complete
                part.discard()
                continue
            if error.code not in BUSY:
                raise DataError(f"{url} does not exist (HTTP {error.code} {error.reason})", manual_remedy) from error
            reason: Any = f"HTTP {error.code} {error.reason}"
        except urllib.error.URLError as error:
            reason = error.reason
        except (Interrupted, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            reason = error or type(error).__name__
        tries = 1 if part.size > before else tries + 1
        if tries >= TRIES:
            failure = f"was cut off after {part.size} bytes" if part.size else "cannot be reached"
            again = "run again to continue from there, or " if part.size else ""
            raise DataError(f"{url} {failure} ({reason})", again + manual_remedy)
        time.sleep(PAUSE)


def receive(url: str, part: PartialFile) -> None:
    """Append the bytes of one connection to `part`. Raises Interrupted if the file is not complete then."""
    request = urllib.request.Request(url, headers={"User-Agent": AGENT, **part.headers()})
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        if response.status == http.client.ACCEPTED:  # "not ready yet", or a challenge that only a browser answers
            raise Interrupted("HTTP 202, no file")
        append_body(response, part)


def append_body(response: Any, part: PartialFile) -> None:
    """Append the body of a response. Raises Interrupted if it is shorter than its Content-Length."""
    with part.open(response) as file:
        done = file.tell()
        length = response.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        if total is not None:
            check_space(part.path, total - done)
        with Progress(f"download of {part.final.name}", done, total, unit="B") as progress:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                progress.show(file.tell(), lambda: download_line(part.final.name, file.tell(), total))
        if total is not None and file.tell() != total:
            raise Interrupted(f"{file.tell()} of {total} bytes arrived")


def download_line(name: str, done: int, total: int | None) -> str:
    """A line of the log on a running download; sizes in bytes."""
    of_total = "" if total is None else f" of {total / 1e6:.1f}"
    return f"download of {name}: {done / 1e6:.1f}{of_total} MB"


def first_byte(response: Any) -> int | None:
    """The position of the first byte in the body of a response, from `Content-Range: bytes 5-9/10`."""
    unit, _, span = response.headers.get("Content-Range", "").partition(" ")
    first = span.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdigit() else None


def check_space(path: Path, needed: int) -> None:
    """Raise StorageError before a download, instead of after hours, if fewer than `needed` bytes are free."""
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise StorageError(
            f"{path.parent} has {free / 1e9:.1f} GB free and {path.name} needs {needed / 1e9:.1f} GB more",
            "free some space or choose another directory",
        )

"""Downloads that resume where they stopped, are verified by a checksum, and exist either completely or not at all."""

import http.client
import os
import shutil
import ssl
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from jointkd.errors import DataError, StorageError
from jointkd.files import http_answers
from jointkd.files.atomic import file_sha256, write_whole
from jointkd.files.http_answers import Answer, Interrupted, Refused, WrongPart, is_page, read_headers, versions_of
from jointkd.progress import Progress

AGENT = "Mozilla/5.0 (compatible; jointkd)"  # some repositories refuse clients that are not browsers
CHUNK = 1 << 20  # bytes
TRIES = 4  # the download fails after so many successive connections that brought (next to) nothing
PAUSE = 2.0  # s between two connections
BUSY = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses of temporary failures


def fetch(url: str, path: Path, sha256: str | None = None, origin: str | None = None) -> Path:
    """Download `url` to `path`, unless the file exists, and return `path`.

    sha256: the publisher's checksum in hexadecimal. If it is None, the answers of the server must be complete and
    consistent, the checksum of the first download is written to `<path>.sha256`, and every later call compares with it.
    origin: where a person finds the file (a DOI), for messages.

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
            download(url, part, sha256 is not None, f"get {path.name} from {origin or url} and put it at {path}")
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
        expected = next(iter(record.read_text(encoding="utf-8", errors="replace").split()), "missing")
        source = f"the one in {record}"
        remedy += f"; if the file there is the right one now, remove {record} as well"
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

    @property
    def resumable(self) -> int:
        """The number of bytes that a download can continue after: 0 if the version of the part is unknown."""
        return self.size if self.version.exists() else 0

    def headers(self) -> dict[str, str]:
        """HTTP headers that request the rest of the same version; none if there is nothing to continue."""
        if self.resumable:
            return {"Range": f"bytes={self.size}-", "If-Range": self.version.read_text(encoding="utf-8")}
        return {}

    @property
    def size(self) -> int:
        """Number of bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def open(self, response: Any, answer: Answer) -> BinaryIO:
        """The file, opened to append the body of a response; emptied first unless the response continues it."""
        if answer.start:
            return self.path.open("ab")
        self.version.unlink(missing_ok=True)
        file = self.path.open("wb")
        if versions := versions_of(response.headers):
            self.version.write_text(versions[0], encoding="utf-8")
        return file

    def is_page(self) -> bool:
        """Whether the bytes are those of a web page."""
        with self.path.open("rb") as file:
            return is_page(file.read(1024))

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


def download(url: str, part: PartialFile, verified: bool, manual_remedy: str) -> None:
    """Complete `part`, over several connections if necessary. Raises DataError; its remedy is to fetch by hand.

    verified: a checksum of the publisher will be compared; without one, no answer is trusted beyond what it shows.
    """
    tries = anew = 0
    while True:
        before = part.size
        try:
            receive(url, part, verified)
            return
        except urllib.error.HTTPError as error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and part.resumable and anew < TRIES:
                if verified and error.headers.get("Content-Range", "").endswith(f"/{before}"):
                    return  # the part is complete, as its checksum will show
                part.discard()
                anew += 1
                continue
            if error.code not in BUSY:
                raise DataError(f"{url} does not exist (HTTP {error.code} {error.reason})", manual_remedy) from error
            reason: Any = f"HTTP {error.code} {error.reason}"
        except Refused as error:
            part.discard()
            raise DataError(f"{url} gives {error}", manual_remedy) from error
        except WrongPart as error:
            part.discard()
            reason = error
        except urllib.error.URLError as error:
            reason = error.reason
        except (Interrupted, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            reason = error or type(error).__name__
        tries = 1 if part.size >= before + http_answers.LEAST else tries + 1
        if tries >= TRIES:
            failure = f"was cut off after {part.size} bytes" if part.size else "cannot be reached"
            again = "run again to continue from there, or " if part.size else ""
            raise DataError(f"{url} {failure} ({first_line_of(reason)})", again + manual_remedy)
        time.sleep(PAUSE)


def first_line_of(reason: Any) -> str:
    """The first line of a reason, which a server may have written."""
    return next(iter(str(reason).splitlines()), "")[:200]


def receive(url: str, part: PartialFile, verified: bool) -> None:
    """Append the bytes of one connection to `part`. Raises Interrupted if the file is not complete then."""
    asked, headers = part.resumable, part.headers()
    with http_answers.request(url, {"User-Agent": AGENT, **headers}) as response:
        answer = read_headers(response, asked, headers.get("If-Range"), verified)
        append_body(response, answer, part)
    if part.size == 0:
        raise Refused("an empty file")
    if not verified and part.is_page():
        raise Refused("a web page in place of the file")


def append_body(response: Any, answer: Answer, part: PartialFile) -> None:
    """Append the body of a response. Raises Interrupted if it is slow, or ends before the file does."""
    with part.open(response, answer) as file:
        done, total = file.tell(), answer.total
        if total is not None:
            check_space(part.path, total - done)
        with Progress(f"download of {part.final.name}", done, total, unit="B") as progress:
            for chunk in chunks(response, None if answer.end is None else answer.end - done):
                file.write(chunk)
                progress.show(file.tell(), lambda: download_line(part.final.name, file.tell(), total))
        if total is not None and file.tell() != total:
            raise Interrupted(f"{file.tell()} of {total} bytes arrived")


def chunks(response: Any, left: int | None) -> Iterator[bytes]:
    """The body of a response: `left` bytes, or all. Raises Interrupted for fewer than LEAST bytes in PATIENCE."""
    since, count = time.monotonic(), 0
    while left is None or left > 0:
        chunk = response.read1(CHUNK if left is None else min(CHUNK, left))
        if not chunk:
            return
        left = None if left is None else left - len(chunk)
        count += len(chunk)
        yield chunk
        if time.monotonic() - since > http_answers.PATIENCE:
            if count < http_answers.LEAST:
                raise Interrupted(f"{count} bytes in {http_answers.PATIENCE:.0f} s")
            since, count = time.monotonic(), 0


def download_line(name: str, done: int, total: int | None) -> str:
    """A line of the log on a running download; sizes in bytes."""
    of_total = "" if total is None else f" of {total / 1e6:.1f}"
    return f"download of {name}: {done / 1e6:.1f}{of_total} MB"


def check_space(path: Path, needed: int) -> None:
    """Raise StorageError before a download, instead of after hours, if fewer than `needed` bytes are free."""
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise StorageError(
            f"{path.parent} has {free / 1e9:.1f} GB free and {path.name} needs {needed / 1e9:.1f} GB more",
            "free some space or choose another directory",
        )

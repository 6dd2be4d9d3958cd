"""What a server's answer says about the file in it, and a connection that gives up on slow servers."""

import contextlib
import http.client
import re
import socket
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PATIENCE = 60.0  # s, for the headers of an answer, and for each LEAST bytes of its body
LEAST = 1 << 16  # bytes; a connection that brings fewer within PATIENCE, or before it ends, counts as one without any
PAGES = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)\b", re.IGNORECASE | re.DOTALL)


class Interrupted(Exception):
    """A connection that failed, or ended before the file was complete."""


class WrongPart(Exception):
    """An answer that does not continue the bytes that are here: the download must begin anew."""


class Refused(Exception):
    """An answer in which there is no file."""


@dataclass(frozen=True)
class Answer:
    """The bytes of an answer: they begin at `start` of the file, and are followed by others if `end` is not `total`."""

    start: int
    end: int | None  # None if the answer does not say its length, but marks its end, or a checksum will tell
    total: int | None  # bytes of the file


def read_headers(response: Any, asked: int, version: str | None, verified: bool) -> Answer:
    """What the headers of a response say. Raises Interrupted, WrongPart, Refused.

    asked: the first byte that the request asked for; version: of the file whose rest it asked for; verified: a checksum
    of the publisher will tell what arrived.
    """
    headers, status = response.headers, response.status
    if status == http.client.ACCEPTED:  # "not ready yet", or a challenge that only a browser answers
        raise Interrupted("HTTP 202, no file")
    if status not in (http.client.OK, http.client.PARTIAL_CONTENT):
        raise Refused(f"HTTP {status}, no file")
    length = body_length(headers.get("Content-Length"))
    if status == http.client.PARTIAL_CONTENT:
        if version not in (versions := versions_of(headers)) and versions:
            raise WrongPart("HTTP 206 with part of another version")
        return part_of(headers, asked, length)
    if length == 0:
        raise Refused("an empty file")
    if headers.get_content_type() in ("text/html", "application/xhtml+xml") and not verified:
        raise Refused("a web page in place of the file")
    if response.chunked:
        length = None
    elif length is None and not verified:
        raise Refused("a file without its length, so that nobody can tell whether it arrived")
    return Answer(0, length, length)


def versions_of(headers: Any) -> list[str]:
    """The identifiers of the version of a file in an answer, the best first; weak ones do not count."""
    named = (headers.get("ETag"), headers.get("Last-Modified"))
    return [version for version in named if version and not version.startswith("W/")]


def part_of(headers: Any, asked: int, length: int | None) -> Answer:
    """The part of a file in an answer of status 206, which must begin at the byte that was asked for."""
    span = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", headers.get("Content-Range", "").strip())
    if not asked or span is None:
        raise WrongPart("HTTP 206 without the part that was asked for")
    first, last, total = (int(number) for number in span.groups())
    if first != asked or not first <= last < total or length not in (None, last + 1 - first):
        raise WrongPart(f"HTTP 206 with bytes {first}-{last} of {total} instead of those from {asked}")
    return Answer(first, last + 1, total)


def body_length(text: str | None) -> int | None:
    """The value of Content-Length. Raises Interrupted for one that is no number."""
    if text is not None and not re.fullmatch(r"\d{1,18}", text.strip()):
        raise Interrupted(f"the Content-Length {text!r:.40}")
    return None if text is None else int(text)


def is_page(start: bytes) -> bool:
    """Whether a file that starts with these bytes is a web page."""
    return PAGES.match(start) is not None


class Patient(http.client.HTTPConnection):
    """A connection whose answer must have arrived, apart from its body, within PATIENCE."""

    def getresponse(self) -> http.client.HTTPResponse:
        with limited(self.sock):
            return super().getresponse()


class PatientSecure(Patient, http.client.HTTPSConnection):
    """The same with TLS."""


class PatientHandler(urllib.request.HTTPHandler):
    """Opens http URLs."""

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(Patient, request)


class PatientSecureHandler(urllib.request.HTTPSHandler):
    """Opens https URLs."""

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(PatientSecure, request)


@contextlib.contextmanager
def limited(connected: Any) -> Iterator[None]:
    """A block in which a socket is shut down after PATIENCE. Raises Interrupted then."""
    late = threading.Event()

    def end() -> None:
        late.set()
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connected, socket.SHUT_RDWR)

    timer = threading.Timer(PATIENCE, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException):
        if not late.is_set():
            raise
    finally:
        timer.cancel()
    if late.is_set():  # also without an error: http.client takes headers that are cut off for whole ones
        raise Interrupted(f"no whole answer in {PATIENCE:.0f} s")


def request(url: str, headers: dict[str, str]) -> Any:
    """The response of a server. Raises the errors of urllib, and Interrupted for an answer that it cannot read."""
    opener = urllib.request.build_opener(PatientHandler, PatientSecureHandler)
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=PATIENCE)
    except ValueError as error:  # a redirection to what is no address
        raise Interrupted(f"an answer that cannot be read ({error})") from error

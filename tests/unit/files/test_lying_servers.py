"""A download without a publisher's checksum believes no answer that contradicts itself, and every wait has an end."""

import hashlib
import socketserver
import time
from pathlib import Path

import pytest

from jointkd.errors import DataError
from jointkd.files import downloads, http_answers
from jointkd.files.downloads import fetch

CONTENT = bytes(range(256)) * 400  # 102 kB
LENGTH = len(CONTENT)
HALF = LENGTH // 2
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ALL = {"Content-Length": LENGTH, "ETag": '"one"'}


def answer(status, headers, body=CONTENT):
    """The bytes of an answer."""
    lines = [f"HTTP/1.1 {status} Reason", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def part(first=HALF, last=LENGTH - 1, total=LENGTH, **headers):
    """An answer with part of the file."""
    span = {"Content-Range": f"bytes {first}-{last}/{total}", "Content-Length": last + 1 - first}
    return answer(206, {**span, **headers}, CONTENT[first : last + 1])


WHOLE = answer(200, ALL)
CUT = answer(200, ALL, CONTENT[:HALF])


class Server(socketserver.ThreadingTCPServer):
    """Answers the requests one after the other as a test says, and repeats the last answer."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[bytes] = [WHOLE]
        self.requests: list[str] = []
        self.pause = 0.0  # s between single bytes of an answer
        self.url = f"http://127.0.0.1:{self.server_address[1]}/a.bin"


class Handler(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        server, lines = self.server, []
        while line := self.rfile.readline().strip():
            lines.append(line.decode())
        server.requests.append(next((line for line in lines if line.startswith("Range")), ""))
        content = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        try:
            for piece in [content] if not server.pause else (content[i : i + 1] for i in range(len(content))):
                self.wfile.write(piece)
                time.sleep(server.pause)
        except OSError:
            pass  # the other side has given up


@pytest.fixture
def server(serve):
    return serve(Server())


CHUNKED = {"Transfer-Encoding": "chunked"}
PAGE = b"\n<!DOCTYPE html><html>log in</html>"
REFUSED = {  # what is not a file
    "a status without content": answer(204, {}, b""),
    "a reset": answer(205, {"Content-Length": 0}, b""),
    "an empty file": answer(200, {"Content-Length": 0}, b""),
    "an empty chunked file": answer(200, CHUNKED, b"0\r\n\r\n"),
    "a web page": answer(200, {"Content-Length": LENGTH, "Content-Type": "text/html; charset=utf-8"}),
    "a web page that does not say so": answer(200, {"Content-Length": len(PAGE), "Content-Type": "text/plain"}, PAGE),
    "no length": answer(200, {"Connection": "close"}),
    "no length, and cut": answer(200, {"Connection": "close"}, CONTENT[:HALF]),
}
BROKEN = {  # what makes no sense
    "a length that is no number": answer(200, {"Content-Length": "abc"}),
    "a negative length": answer(200, {"Content-Length": "-5"}),
    "a redirection to no address": answer(302, {"Location": "http://[::1", "Content-Length": 0}, b""),
    "a redirection to no port": answer(302, {"Location": "http://a:b/", "Content-Length": 0}, b""),
    "a redirection to a file": answer(302, {"Location": Path(__file__).as_uri(), "Content-Length": 0}, b""),
    "a redirection to itself": answer(302, {"Location": "/a.bin", "Content-Length": 0}, b""),
    "a part that nobody asked for": part(0),
    "another part that nobody asked for": part(),
    "a cut chunk": answer(200, CHUNKED, b"1000\r\nabc"),
    "chunks without an end": answer(200, CHUNKED, b"3\r\nabc\r\n"),
    "no HTTP": b"220 ready\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("content", [*REFUSED.values(), *BROKEN.values()], ids=[*REFUSED, *BROKEN])
def test_an_answer_that_is_no_file_is_refused_and_the_right_file_taken_later(server, tmp_path, content):
    server.answers = [content]
    with pytest.raises(DataError) as caught:
        fetch(server.url, tmp_path / "a.bin")
    assert "\n" not in str(caught.value)
    assert f"put it at {tmp_path / 'a.bin'}" in str(caught.value)
    assert len(server.requests) <= 50
    assert not (tmp_path / "a.bin.sha256").exists()
    server.answers = [WHOLE]
    assert fetch(server.url, tmp_path / "a.bin").read_bytes() == CONTENT


CONTINUED = {  # what follows half a file, and does not continue it
    "another start": part(HALF - 7),
    "no range": answer(206, {"Content-Length": LENGTH - HALF}, CONTENT[HALF:]),
    "a range that is none": answer(206, {"Content-Range": "bytes x-y/z"}, CONTENT[HALF:]),
    "no total": part(total="*"),
    "a total that is too small": part(total=HALF + 5),
    "another length": part(**{"Content-Length": 5}),
    "another version": part(ETag='"two"'),
    "parts": answer(206, {"Content-Type": "multipart/byteranges; boundary=a", "Content-Length": 9}, b"--a\r\n\r\n--"),
    "the part is whole": answer(416, {"Content-Range": f"bytes */{HALF}", "Content-Length": 0}, b""),
    "not the part": answer(416, {"Content-Length": 0}, b""),
}


@pytest.mark.parametrize("content", CONTINUED.values(), ids=CONTINUED)
def test_half_a_file_is_not_completed_by_an_answer_that_does_not_continue_it(server, tmp_path, content):
    server.answers = [CUT, content, WHOLE]
    assert fetch(server.url, tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.requests == ["", f"Range: bytes={HALF}-", ""]


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_short_part_is_followed_by_the_next(server, tmp_path, sha256):
    server.answers = [CUT, part(HALF, HALF + 999), part(HALF + 1000)]
    assert fetch(server.url, tmp_path / "a.bin", sha256).read_bytes() == CONTENT
    assert server.requests[1:] == [f"Range: bytes={HALF}-", f"Range: bytes={HALF + 1000}-"]


def test_a_server_that_refuses_every_rest_is_given_up(server, tmp_path):
    server.answers = [CUT, answer(416, {"Content-Length": 0}, b"")] * 40
    with pytest.raises(DataError, match=r"HTTP 416|was cut off"):
        fetch(server.url, tmp_path / "a.bin")
    assert len(server.requests) < 20


@pytest.mark.parametrize("content", [answer(200, {}), answer(200, {**ALL, "Content-Type": "text/html"})])
def test_a_publishers_checksum_tells_more_than_headers(server, tmp_path, content):
    server.answers = [content]
    assert fetch(server.url, tmp_path / "a.bin", SHA256).read_bytes() == CONTENT


def test_chunks_with_an_end_are_a_whole_file(server, tmp_path):
    server.answers = [answer(200, CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (LENGTH, CONTENT))]
    assert fetch(server.url, tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "dribbled",
    [
        WHOLE,
        answer(200, CHUNKED, b"ffff\r\n" + 5000 * b"a"),
        b"HTTP/1.1 200" + 5000 * b"K",
        answer(200, {"A": 5000 * "a"}),
    ],
)
def test_a_server_that_sends_single_bytes_is_given_up(server, tmp_path, monkeypatch, dribbled):
    monkeypatch.setattr(http_answers, "PATIENCE", 0.2)
    server.answers, server.pause = [dribbled], 0.002
    with pytest.raises(DataError, match=r"\((no whole answer|\d+ bytes) in 0 s\)"):
        fetch(server.url, tmp_path / "a.bin")
    assert len(server.requests) == downloads.TRIES


def test_what_was_recorded_is_replaced_by_the_advice_of_the_message(server, tmp_path):
    lie = CONTENT[::-1]
    server.answers = [answer(200, ALL, lie)]
    path = fetch(server.url, tmp_path / "a.bin")
    path.unlink()
    server.answers = [WHOLE]
    with pytest.raises(DataError, match=r"if the file there is the right one now, remove (\S+a\.bin\.sha256) as well"):
        fetch(server.url, path)
    (tmp_path / "a.bin.sha256").unlink()
    assert fetch(server.url, path).read_bytes() == CONTENT
    (tmp_path / "a.bin.sha256").write_text("")
    with pytest.raises(DataError, match="as well"):
        fetch(server.url, path)

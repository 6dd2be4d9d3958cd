"""A download is whole or not there: cut connections go on, changed files start anew, and what fails says what to do."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jointkd.errors import DataError, StorageError
from jointkd.files import downloads
from jointkd.files.downloads import fetch

CONTENT = bytes(range(256)) * 20_000  # 5 MB: several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content` at any path but /missing, as a well-kept server would unless it is told otherwise."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.etag: str | None = '"one"'
        self.ranges = True  # whether Range is honoured
        self.cuts: list[int] = []  # bytes after which the next connections end
        self.status = 200
        self.asked: list[str | None] = []  # the Range of each request

    def url(self, name: str = "a.bin") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if self.path == "/missing" or server.status != 200:
            self.send_error(404 if self.path == "/missing" else server.status)
            return
        start, total = 0, len(server.content)
        if wanted and server.ranges and self.headers.get("If-Range") in (None, server.etag):
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= total:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(200)
        if server.etag:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(total - start))
        self.end_headers()
        body = server.content[start:]
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(downloads, "PAUSE", 0.0)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    running = Server()
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def left_over(path):
    """What lies beside a file, apart from the lock and the recorded checksum."""
    return [f.name for f in path.parent.iterdir() if f not in (path, path.with_name(f"{path.name}.sha256"))
            and f.suffix != ".lock"]  # fmt: skip


def stopped_after(server, path, count):
    """A download that was killed after `count` bytes."""
    path.parent.mkdir(exist_ok=True)
    path.with_name(f"{path.name}.part").write_bytes(server.content[:count])
    path.with_name(f"{path.name}.part.version").write_text(server.etag)


def test_a_file_arrives_whole_and_nothing_else_is_left(server, tmp_path):
    path = fetch(server.url(), tmp_path / "new" / "a.bin", SHA256)
    assert path.read_bytes() == CONTENT
    assert not left_over(path)


def test_a_file_that_is_there_is_not_asked_for_again(server, tmp_path):
    for _ in range(2):
        fetch(server.url(), tmp_path / "a.bin", SHA256)
    assert len(server.asked) == 1


def test_of_several_that_want_a_file_one_downloads_it(server, tmp_path):
    with ThreadPoolExecutor(4) as several:
        paths = list(several.map(lambda _: fetch(server.url(), tmp_path / "a.bin", SHA256), range(4)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(server.asked) == 1


def test_a_connection_that_is_cut_is_taken_up_where_it_ended(server, tmp_path):
    server.cuts = [1_000_000, 2_500_000]
    assert fetch(server.url(), tmp_path / "a.bin", SHA256).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000000-", "bytes=3500000-"]


def test_a_download_that_was_stopped_goes_on_in_the_next_call(server, tmp_path):
    stopped_after(server, tmp_path / "a.bin", 3_000_000)
    assert fetch(server.url(), tmp_path / "a.bin", SHA256).read_bytes() == CONTENT
    assert server.asked == ["bytes=3000000-"]


def test_a_download_that_was_stopped_at_its_last_byte_is_finished(server, tmp_path):
    stopped_after(server, tmp_path / "a.bin", len(CONTENT))
    assert fetch(server.url(), tmp_path / "a.bin", SHA256).read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]


def test_a_file_that_changed_on_the_server_starts_anew(server, tmp_path):
    stopped_after(server, tmp_path / "a.bin", 3_000_000)
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert fetch(server.url(), tmp_path / "a.bin").read_bytes() == CONTENT[::-1]


def test_a_part_longer_than_the_file_starts_anew(server, tmp_path):
    stopped_after(server, tmp_path / "a.bin", 3_000_000)
    server.content = CONTENT[:1000]
    assert fetch(server.url(), tmp_path / "a.bin").read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize("etag", [None, '"one"', 'W/"one"'])
def test_a_server_that_cannot_go_on_starts_anew(server, tmp_path, etag):
    server.ranges, server.etag, server.cuts = False, etag, [1_000_000]
    assert fetch(server.url(), tmp_path / "a.bin", SHA256).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_part_of_an_unknown_version_is_not_used(server, tmp_path):
    server.etag, server.cuts = None, [1_000_000]
    assert fetch(server.url(), tmp_path / "a.bin", SHA256).read_bytes() == CONTENT
    assert server.asked == [None, None]


def test_a_server_that_always_cuts_ends_in_one_line_and_keeps_what_came(server, tmp_path):
    server.cuts = [1_000_000] + 10 * [0]
    with pytest.raises(DataError, match=r"a.bin was cut off after 1000000 bytes .*; run again to go on from there"):
        fetch(server.url(), tmp_path / "a.bin", SHA256)
    server.cuts = []
    assert fetch(server.url(), tmp_path / "a.bin", SHA256).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=1000000-"


def test_another_checksum_than_the_publishers_is_refused_and_the_bytes_are_thrown_away(server, tmp_path):
    with pytest.raises(DataError, match=r"the checksum of .*a.bin is .* and its publisher's 0000"):
        fetch(server.url(), tmp_path / "a.bin", 64 * "0")
    assert not (tmp_path / "a.bin").exists()
    assert not left_over(tmp_path / "a.bin")


def test_a_checksum_is_recorded_at_first_and_compared_later(server, tmp_path):
    path = fetch(server.url(), tmp_path / "a.bin")
    assert (tmp_path / "a.bin.sha256").read_text() == f"{SHA256}  a.bin\n"
    fetch(server.url(), path)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match=r"the checksum of .*a.bin is .* and the one in .*a.bin.sha256 .*; remove it"):
        fetch(server.url(), path)


def test_a_missing_file_is_one_line_that_says_where_to_find_it(server, tmp_path):
    with pytest.raises(DataError) as caught:
        fetch(server.url("missing"), tmp_path / "a.bin", origin="doi:10.1234/abc")
    said = str(caught.value)
    assert "missing is not there (HTTP 404" in said
    assert f"get a.bin from doi:10.1234/abc and put it at {tmp_path / 'a.bin'}" in said
    assert "\n" not in said
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [503, 202])
def test_a_server_that_is_busy_is_asked_again_before_giving_up(server, tmp_path, status):
    server.status = status
    with pytest.raises(DataError, match=rf"cannot be reached \(HTTP {status}"):
        fetch(server.url(), tmp_path / "a.bin")
    assert len(server.asked) == downloads.TRIES


def test_no_network_is_one_line_that_says_what_to_do(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=r"cannot be reached \(.*refused.*\); get a.bin from doi:1 and put it at"):
        fetch(server.url(), tmp_path / "a.bin", origin="doi:1")


def test_a_disk_without_room_is_said_before_the_download(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000_000})())
    with pytest.raises(StorageError, match=r"0.0 GB free and a.bin.part needs"):
        fetch(server.url(), tmp_path / "a.bin")


def test_a_disk_that_fills_up_on_the_way_is_one_line(server, tmp_path):
    (tmp_path / "a.bin.part").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"cannot be written \(No space left on device\)"):
        fetch(server.url(), tmp_path / "a.bin")


def test_progress_is_plain_lines_where_there_is_no_terminal(server, tmp_path, caplog):
    with caplog.at_level("INFO"):
        fetch(server.url(), tmp_path / "a.bin")
    assert "download of a.bin: 5.1 of 5.1 MB" in caplog.text
    assert "\r" not in caplog.text

"""A download is complete or absent: cut connections resume, changed files start anew, and errors name a remedy."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jointkd.errors import DataError, StorageError
from jointkd.files import downloads
from jointkd.files.downloads import fetch

CONTENT = bytes(range(256)) * 20_000  # 5 MB: several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content` at any path but /missing, and supports ETag and Range unless a test changes that."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.etag: str | None = '"one"'
        self.ranges = True  # whether it honours Range
        self.cuts: list[int] = []  # the next connections end after so many bytes
        self.status = 200
        self.requests: list[str | None] = []  # the Range of each request

    def url(self, name: str = "a.bin") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, range_ = self.server, self.headers.get("Range")
        server.requests.append(range_)
        if self.path == "/missing" or server.status != 200:
            self.send_error(404 if self.path == "/missing" else server.status)
            return
        start, total = 0, len(server.content)
        if range_ and server.ranges and self.headers.get("If-Range") in (None, server.etag):
            start = int(range_.removeprefix("bytes=").partition("-")[0])
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
def server(serve):
    return serve(Server())


def leftovers(path):
    """The files beside a file, apart from its lock and its recorded checksum."""
    return [f.name for f in path.parent.iterdir() if f not in (path, path.with_name(f"{path.name}.sha256"))
            and f.suffix != ".lock"]  # fmt: skip


def stopped_after(server, path, count):
    """A download that was killed after `count` bytes."""
    path.parent.mkdir(exist_ok=True)
    path.with_name(f"{path.name}.part").write_bytes(server.content[:count])
    path.with_name(f"{path.name}.part.version").write_text(server.etag)


def test_a_file_arrives_complete_and_leaves_no_temporary_files(server, tmp_path):
    path = fetch(server.url(), tmp_path / "new" / "a.bin", SHA256)
    assert path.read_bytes() == CONTENT
    assert not leftovers(path)


def test_an_existing_file_is_not_requested_again(server, tmp_path):
    for _ in range(2):
        fetch(server.url(), tmp_path / "a.bin", SHA256)
    assert len(server.requests) == 1


def test_of_several_processes_that_need_a_file_one_downloads_it(server, tmp_path):
    with ThreadPoolExecutor(4) as several:
        paths = list(several.map(lambda _: fetch(server.url(), tmp_path / "a.bin", SHA256), range(4)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(server.requests) == 1


def test_a_cut_connection_resumes_where_it_ended(server, tmp_path):
    server.cuts = [1_000_000, 2_500_000]
    assert fetch(server.url(), tmp_path / "a.bin", SHA256).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=1000000-", "bytes=3500000-"]


def test_an_interrupted_download_resumes_in_the_next_call(server, tmp_path):
    stopped_after(server, tmp_path / "a.bin", 3_000_000)
    assert fetch(server.url(), tmp_path / "a.bin", SHA256).read_bytes() == CONTENT
    assert server.requests == ["bytes=3000000-"]


def test_a_download_interrupted_after_its_last_byte_is_completed(server, tmp_path):
    stopped_after(server, tmp_path / "a.bin", len(CONTENT))
    assert fetch(server.url(), tmp_path / "a.bin", SHA256).read_bytes() == CONTENT
    assert server.requests == [f"bytes={len(CONTENT)}-"]


def test_a_file_that_changed_on_the_server_is_downloaded_anew(server, tmp_path):
    stopped_after(server, tmp_path / "a.bin", 3_000_000)
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert fetch(server.url(), tmp_path / "a.bin").read_bytes() == CONTENT[::-1]


def test_a_part_longer_than_the_file_is_discarded(server, tmp_path):
    stopped_after(server, tmp_path / "a.bin", 3_000_000)
    server.content = CONTENT[:1000]
    assert fetch(server.url(), tmp_path / "a.bin").read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize("etag", [None, '"one"', 'W/"one"'])
def test_without_support_for_ranges_a_download_starts_anew(server, tmp_path, etag):
    server.ranges, server.etag, server.cuts = False, etag, [1_000_000]
    assert fetch(server.url(), tmp_path / "a.bin", SHA256).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_part_of_an_unknown_version_is_not_used(server, tmp_path):
    server.etag, server.cuts = None, [1_000_000]
    assert fetch(server.url(), tmp_path / "a.bin", SHA256).read_bytes() == CONTENT
    assert server.requests == [None, None]


def test_a_server_that_keeps_cutting_connections_is_an_error_and_the_part_is_kept(server, tmp_path):
    server.cuts = [1_000_000] + 10 * [0]
    with pytest.raises(DataError, match=r"a.bin was cut off after 1000000 bytes .*; run again to continue from there"):
        fetch(server.url(), tmp_path / "a.bin", SHA256)
    server.cuts = []
    assert fetch(server.url(), tmp_path / "a.bin", SHA256).read_bytes() == CONTENT
    assert server.requests[-1] == "bytes=1000000-"


def test_a_file_with_another_checksum_than_the_publishers_is_refused_and_removed(server, tmp_path):
    with pytest.raises(DataError, match=r"the checksum of .*a.bin is .* and its publisher's 0000"):
        fetch(server.url(), tmp_path / "a.bin", 64 * "0")
    assert not (tmp_path / "a.bin").exists()
    assert not leftovers(tmp_path / "a.bin")


def test_the_checksum_of_the_first_download_is_recorded_and_compared_later(server, tmp_path):
    path = fetch(server.url(), tmp_path / "a.bin")
    assert (tmp_path / "a.bin.sha256").read_text() == f"{SHA256}  a.bin\n"
    fetch(server.url(), path)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match=r"the checksum of .*a.bin is .* and the one in .*a.bin.sha256 .*; remove it"):
        fetch(server.url(), path)


def test_a_missing_file_is_an_error_that_names_where_to_find_it(server, tmp_path):
    with pytest.raises(DataError) as caught:
        fetch(server.url("missing"), tmp_path / "a.bin", origin="doi:10.1234/abc")
    message = str(caught.value)
    assert "missing does not exist (HTTP 404" in message
    assert f"get a.bin from doi:10.1234/abc and put it at {tmp_path / 'a.bin'}" in message
    assert "\n" not in message
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [503, 202])
def test_a_busy_server_is_asked_several_times(server, tmp_path, status):
    server.status = status
    with pytest.raises(DataError, match=rf"cannot be reached \(HTTP {status}"):
        fetch(server.url(), tmp_path / "a.bin")
    assert len(server.requests) == downloads.TRIES


def test_without_a_network_the_error_names_the_remedy(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=r"cannot be reached \(.*refused.*\); get a.bin from doi:1 and put it at"):
        fetch(server.url(), tmp_path / "a.bin", origin="doi:1")


def test_a_disk_without_space_is_an_error_before_the_download(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000_000})())
    with pytest.raises(StorageError, match=r"0.0 GB free and a.bin.part needs"):
        fetch(server.url(), tmp_path / "a.bin")


def test_a_disk_that_fills_up_during_a_download_is_a_storage_error(server, tmp_path):
    (tmp_path / "a.bin.part").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"cannot be written \(No space left on device\)"):
        fetch(server.url(), tmp_path / "a.bin")


def test_without_a_terminal_progress_is_logged_as_plain_lines(server, tmp_path, caplog):
    with caplog.at_level("INFO"):
        fetch(server.url(), tmp_path / "a.bin")
    assert "download of a.bin: 5.1 of 5.1 MB" in caplog.text
    assert "\r" not in caplog.text

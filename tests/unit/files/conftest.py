"""A server on this machine, and downloads that reach it at once."""

import threading
from collections.abc import Callable, Iterator
from socketserver import TCPServer

import pytest

from jointkd.files import downloads


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[TCPServer], TCPServer]]:
    """Serve in the background until the test ends, without a proxy and without pauses between attempts."""
    monkeypatch.setattr(downloads, "PAUSE", 0.0)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    running: list[TCPServer] = []

    def start(server: TCPServer) -> TCPServer:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()

"""A small local server that answers what wandb asks before and as it saves a workspace."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.servers import running

USER = {"id": "1", "username": "someone", "entity": "team", "flags": "{}", "teams": {"edges": []}}


class WandbServer(ThreadingHTTPServer):
    """Keeps the variables of each view that is saved."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.views: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One request: GraphQL, or the telemetry of wandb, which may hold anything."""

    server: WandbServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *words: object) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        data: dict[str, Any] = {}
        if self.path == "/graphql":
            asked = json.loads(content)
            data = {"viewer": USER}
            if "upsertView" in asked["query"]:
                self.server.views.append(asked["variables"])
                data = {"upsertView": {"view": {"id": "1", "name": "nw-saved-v"}, "inserted": True}}
        answer = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """A running server."""
    server = WandbServer()
    with running(server):
        yield server

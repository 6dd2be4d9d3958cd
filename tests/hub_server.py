"""A small local server that speaks what huggingface_hub needs of the Hugging Face hub: repositories, commits, files."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from tests.servers import running

Files = dict[str, bytes]


class HubServer(ThreadingHTTPServer):
    """Repositories in memory. token: of the only user, who may write."""

    token = "hf_good"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.private: dict[str, bool] = {}
        self.commits: dict[str, list[Files]] = {}  # the files after each commit of a repository

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def files(self, repository: str, revision: str) -> tuple[str, Files] | None:
        """The commit of a revision, and its files."""
        commits = self.commits.get(repository, [])
        known = {commit_of(number): files for number, files in enumerate(commits)}
        newest = commit_of(len(commits) - 1)
        name = newest if revision == "main" else revision
        return (name, known[name]) if name in known else None


def commit_of(number: int) -> str:
    """The name of a commit."""
    return f"{number + 1:040x}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *words: object) -> None:
        """Nothing: tests print what they need."""

    def answer(self, status: int, body: object = None, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self) -> None:
        length, parts = int(self.headers.get("Content-Length", 0)), self.path.strip("/").split("/")
        content = self.rfile.read(length)
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return self.answer(401, {"error": "Invalid credentials"})
        if self.path == "/api/repos/create":
            return self.create(json.loads(content))
        repository, action = "/".join(parts[2:4]), parts[4]
        if action == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                for f in json.loads(content)["files"]
            ]
            return self.answer(200, {"files": files})
        assert action == "commit"
        lines = [json.loads(line) for line in content.splitlines()]
        new = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
        }
        commits = self.server.commits[repository]
        commits.append({**(commits[-1] if commits else {}), **new})
        name = commit_of(len(commits) - 1)
        self.answer(
            200, {"success": True, "commitOid": name, "commitUrl": f"{self.server.url}/{repository}/commit/{name}"}
        )

    def create(self, wanted: dict[str, object]) -> None:
        repository = f"{wanted.get('organization') or 'user'}/{wanted['name']}"
        if repository in self.server.commits:
            return self.answer(409, {"error": "exists", "url": f"{self.server.url}/{repository}"})
        self.server.commits[repository], self.server.private[repository] = (
            [],
            wanted.get("private") is True or wanted.get("visibility") == "private",
        )
        self.answer(200, {"url": f"{self.server.url}/{repository}"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = unquote(self.path).strip("/").split("/")
        repository, revision, name = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
        if repository not in self.server.commits:
            return self.answer(404, X_Error_Code="RepoNotFound")
        found = self.server.files(repository, revision)
        if found is None:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        commit, files = found
        if name not in files:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        tag = hashlib.sha1(files[name]).hexdigest()
        self.answer(200, files[name], X_Repo_Commit=commit, ETag=f'"{tag}"')


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """A server that runs until the block ends."""
    server = HubServer()
    with running(server):
        yield server

"""A small server that speaks the calls of the Hugging Face Hub that nextchar needs, in memory and on this machine only."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

REPOSITORY = r"(datasets/)?([^/]+/[^/]+)"


@dataclass
class Repository:
    """A repository: the files of every commit, oldest first, and the names of commits."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], ref: str = "main") -> str:
        """Add files to a branch; return the hash of the commit."""
        whole = {**self.commits.get(self.refs.get(ref, ""), {}), **files}
        oid = hashlib.sha1(repr((len(self.commits), sorted(whole.items()))).encode()).hexdigest()  # noqa: S324  git's
        self.commits[oid] = whole
        self.refs[ref] = oid
        return oid


@dataclass
class Hub:
    """What the server knows, and what it was asked.

    Attributes:
        repositories: By kind and name.
        writers: Tokens, and whose repositories each may write.
        broken: Files whose transfer ends half way.
        sizes: Files of which another size is announced.
        requests: Method and path of every request.
        tokens: The tokens that came with requests.
    """

    url: str = ""
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    writers: dict[str, str] = field(default_factory=lambda: {"hf_good": "user"})
    broken: set[str] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def add(self, name: str, files: dict[str, bytes], kind: str = "model", **options: Any) -> Repository:
        """Make a repository with one commit."""
        repository = self.repositories[kind, name] = Repository(**options)
        repository.commit(files)
        return repository


class Refusal(Exception):  # noqa: N818  an answer, not a mistake
    """An answer that is an error."""

    def __init__(self, status: int, code: str = "", message: str = "no") -> None:
        self.status, self.code, self.message = status, code, message


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    hub: ClassVar[Hub]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.hub.requests.append((self.command, path))
        self.hub.tokens.add(token)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._route(path, token, body)
        except Refusal as refusal:
            headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
            self._send(json.dumps({"error": refusal.message}).encode(), refusal.status, headers)

    do_GET = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815  names of the standard library

    def _route(self, path: str, token: str, body: bytes) -> None:
        if token and token not in self.hub.writers:
            raise Refusal(401, message="Invalid credentials in Authorization header")
        for methods, pattern, call in self.ROUTES:
            if self.command in methods.split() and (match := re.fullmatch(pattern, path)):
                call(self, token, body, *match.groups())
                return
        raise Refusal(404)

    def _send(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value: object) -> None:
        self._send(json.dumps(value).encode(), 200, {"Content-Type": "application/json"})

    def _find(self, kind: str | None, name: str, token: str) -> Repository:
        repository = self.hub.repositories.get(("dataset" if kind else "model", name))
        mine = self.hub.writers.get(token) == name.partition("/")[0]
        if not repository or (repository.private and not mine):
            raise Refusal(404 if token else 401, "RepoNotFound", "Repository not found")
        if repository.gated and not mine:
            raise Refusal(403, "GatedRepo", "Access is restricted")
        return repository

    @staticmethod
    def _files(repository: Repository, revision: str) -> tuple[str, dict[str, bytes]]:
        commit = repository.refs.get(revision, revision)
        if commit not in repository.commits:
            raise Refusal(404, "RevisionNotFound", "Invalid rev id")
        return commit, repository.commits[commit]

    def _create(self, token: str, body: bytes) -> None:
        given = json.loads(body)
        owner = given.get("organization") or self.hub.writers.get(token)
        if not token:
            raise Refusal(401)
        if self.hub.writers[token] != owner:
            raise Refusal(403, message="You do not have the right to create a model under this namespace")
        name = f"{owner}/{given['name']}"
        answer = {"url": f"{self.hub.url}/{name}"}
        if ("model", name) in self.hub.repositories:
            self._send(json.dumps(answer).encode(), 409)
            return
        made = Repository(private=given.get("visibility") == "private" or bool(given.get("private")))
        made.commit({".gitattributes": b""})
        self.hub.repositories["model", name] = made
        self._json(answer)

    def _info(self, token: str, _: bytes, kind: str, name: str, revision: str | None) -> None:
        repository = self._find(kind if kind == "datasets" else None, name, token)
        commit, files = self._files(repository, revision or "main")
        shown = {"id": name, "sha": commit, "private": repository.private, "gated": repository.gated}
        self._json({**shown, "tags": [], "downloads": 0, "siblings": [{"rfilename": file} for file in files]})

    def _validate(self, _token: str, body: bytes) -> None:
        unknown = b"license: unheard-of" in body
        errors = [{"message": '"license" must be one of [apache-2.0, mit]'}] if unknown else []
        self._send(json.dumps({"errors": errors, "warnings": []}).encode(), 400 if errors else 200)

    def _preupload(self, token: str, body: bytes, name: str) -> None:
        self._find(None, name, token)
        modes = [
            {
                "path": each["path"],
                "uploadMode": "lfs" if each["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for each in json.loads(body)["files"]
        ]
        self._json({"files": modes})

    def _batch(self, _token: str, body: bytes, _name: str) -> None:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{each['oid']}"}}}
            for each in json.loads(body)["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def _put(self, _token: str, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.objects[oid] = body
        self._send(b"")

    def _commit(self, token: str, body: bytes, name: str, ref: str) -> None:
        repository, files = self._find(None, name, token), {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
        oid = repository.commit(files, ref)
        self._json({"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{name}/commit/{oid}"})

    def _resolve(self, token: str, _: bytes, *place: str) -> None:
        kind, name, revision, file = place
        commit, files = self._files(self._find(kind, name, token), revision)
        if file not in files:
            raise Refusal(404, "EntryNotFound", "Entry not found")
        content = files[file]
        etag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
        if file in self.hub.sizes:
            headers["X-Linked-Size"] = str(self.hub.sizes[file])
        if file in self.hub.broken and self.command == "GET":
            self.close_connection = True
            headers["Content-Length"] = str(len(content))
            content = content[: len(content) // 2] if "Range" not in self.headers else b""
        self._send(content, 200 if "Range" not in self.headers else 206, headers)

    ROUTES: ClassVar[tuple[tuple[str, str, Any], ...]] = (
        ("POST", "/api/repos/create", _create),
        ("POST", "/api/validate-yaml", _validate),
        ("POST", r"/api/models/([^/]+/[^/]+)/preupload/main", _preupload),
        ("POST", r"/api/models/([^/]+/[^/]+)/commit/(.+)", _commit),
        ("GET", r"/api/(models|datasets)/([^/]+/[^/]+)(?:/revision/(.+))?", _info),
        ("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", _batch),
        ("PUT", r"/lfs/(\w+)", _put),
        ("GET HEAD", rf"/{REPOSITORY}/resolve/((?:refs/\w+/)?[^/]+)/(.+)", _resolve),
    )


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve an empty hub on a free port."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""A double of the Hugging Face Hub over HTTP: what its own client asks when folders are sent and fetched.

Written after the calls of huggingface_hub 2.4.0. Not covered: branches, deletion of folders, and xet, which hf_xet speaks to a storage of its own: large files go by LFS, as without hf_xet.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from huggingface_hub import constants

TOKEN = "hf_of_the_tests_0123456789"
_COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """What lies in one."""

    is_private: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


class HubDouble:
    """Knows one token, which may write to `org` alone. `refuse_with`: the status of every answer, if there is one."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}  # by kind and name: models/org/name
        self.requests: list[str] = []
        self.refuse_with: int | None = None
        self.upload_status = 200
        self.is_changed_meanwhile = False
        self.blobs: dict[str, bytes] = {}
        self.url = ""

    def answer(self, method: str, path: str, body: bytes, token: str | None) -> tuple[int, Any]:
        """(status, what is answered)"""
        self.requests.append(f"{method} {path}")
        parts = path.strip("/").split("/")
        if parts[0] == "upload":
            self.blobs[parts[1]] = body
            return self.upload_status, {}
        if self.refuse_with or token != TOKEN:
            return self.refuse_with or 401, {"error": "Invalid username or password."}
        if path == "/api/whoami-v2":
            return 200, {"name": "tests", "type": "user", "orgs": []}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.endswith("/info/lfs/objects/batch"):
            return 200, {"transfer": "basic", "objects": [self._place(each) for each in json.loads(body)["objects"]]}
        if len(parts) > 4 and parts[2] == "resolve":
            return self._file(f"models/{parts[0]}/{parts[1]}", "/".join(parts[4:]))
        name = "/".join(parts[1:4])
        repository = self.repositories.get(name)
        if repository is None:
            return 404, {"error": "Repository not found"}
        if parts[4:5] == ["tree"]:
            listed = [
                {"type": "file", "path": path, "size": len(content), "oid": _COMMIT} for path, content in repository.files.items()
            ]
            return (404, {"error": "EntryNotFound"}) if parts[6:] else (200, listed)
        if method == "GET":
            siblings = [{"rfilename": file} for file in repository.files]
            return 200, {"id": "/".join(parts[2:4]), "private": repository.is_private, "sha": _COMMIT, "siblings": siblings}
        if parts[4] == "preupload":
            return 200, {"files": [self._mode(file) for file in json.loads(body)["files"]]}
        if parts[4] == "commit":
            return self._commit(name, repository, [json.loads(line) for line in body.splitlines()])
        return 500, {"error": f"the double knows no {method} {path}"}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        owner, kind = asked["organization"], f"{asked.get('type', 'model')}s"
        name = f"{kind}/{owner}/{asked['name']}"
        if owner != "org":
            return 403, {"error": "You don't have the rights to create a repository here"}
        url = {"url": f"{self.url}/{'' if kind == 'models' else 'datasets/'}{owner}/{asked['name']}"}
        if name in self.repositories:
            return 409, {**url, "error": "You already created this repository"}
        self.repositories[name] = Repository(is_private=asked.get("visibility") == "private")
        return 200, url

    def _file(self, name: str, path: str) -> tuple[int, Any]:
        files = self.repositories[name].files
        return (200, files[path]) if path in files else (404, {"error": "EntryNotFound"})

    def _place(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {**asked, "actions": {"upload": {"href": f"{self.url}/upload/{asked['oid']}", "header": {}}}}

    def _mode(self, file: dict[str, Any]) -> dict[str, Any]:
        is_large = file["path"].endswith((".safetensors", ".parquet"))
        return {"path": file["path"], "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False, "oid": None}

    def _commit(self, name: str, repository: Repository, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        if self.is_changed_meanwhile or lines[0]["value"].get("parentCommit") != _COMMIT:
            return 412, {"error": "The expected parent commit differs from the one that is there"}
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                repository.messages.append(value["summary"])
            elif line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = self.blobs[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"]
                repository.files[value["path"]] = content
            elif line["key"] == "deletedFile":
                del repository.files[value["path"]]  # one that is not there is refused by the Hub, too
        return 200, {"commitUrl": f"{self.url}/{name}/commit/{_COMMIT}", "commitOid": _COMMIT, "hookOutput": ""}


@contextmanager
def hub_double(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubDouble]:
    """A running one, which the libraries of Hugging Face ask in place of the Hub, with its token."""
    double = HubDouble()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            pass

        def _answer(self) -> None:
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b"".join(iter(self._chunk, b""))
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
            status, answer = double.answer(self.command, self.path.partition("?")[0], body, token)
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            if isinstance(answer, dict) and "error" in answer:
                self.send_header("X-Error-Code", str(answer["error"]))
            self.send_header("X-Repo-Commit", _COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _chunk(self) -> bytes:
            content = self.rfile.read(int(self.rfile.readline(), 16))
            self.rfile.readline()
            return content

        do_GET = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815 - the library's names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    double.url = f"http://127.0.0.1:{server.server_address[1]}"
    of_file = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, double.url)  # made when it is imported
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", of_file)
    monkeypatch.setattr(constants, "ENDPOINT", double.url)
    monkeypatch.setattr("transformers.utils.hub._hf_api", None, raising=False)  # it may ask the double of an earlier test
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()

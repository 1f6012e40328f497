"""A small Label Studio over HTTP: the calls of preference/studio/project.py, as label-studio 1.23.2 answered them.

Any other path, operator or column is an error. What it holds is in studio_records.py.
Beside it `wait_until`, for what others do with what it holds.
"""

import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest

from tests.support.studio_records import DATA, Fields, Refusal, StudioRecords, auth_in, changed, record_of

CALLS: dict[str, Any] = json.loads((DATA / "label_studio_1.23.2_calls.json").read_text(encoding="utf-8"))
KEY = "0123456789abcdef0123456789abcdef01234567"
CUT = -1  # a failure: what was asked is done, and its answer is cut in the middle
POSTGRESQL_SAYS = (
    "unsupported Unicode escape sequence\nDETAIL:  \\u0000 cannot be converted to text.\n"
    "CONTEXT:  JSON data, line 1: ... the middle of an answer\\u0000...\nunnamed portal parameter $2 = '...'"
)
_SECRET = "the double's own secret, 32 bytes or more"


class StudioDouble(StudioRecords):
    """Records that are served over HTTP; `on_request` may change them before a request is answered."""

    def __init__(self, *, first_id: int = 1) -> None:
        super().__init__(first_id=first_id)
        self.requests: list[str] = []  # "PATCH /api/tasks/7/", in order
        self.bodies: list[Any] = []  # of each of them
        self.on_arrival: Callable[[str], None] = lambda request: None  # before its turn: it answers one at a time
        self.on_request: Callable[[str], None] = lambda request: None
        self.failures: list[int] = []  # statuses of the next answers; 0 drops the connection, CUT does so inside the answer
        self.retry_after: str | None = None  # what a failure says of that
        self.is_on_postgresql = False  # which takes no NUL, and no half of a surrogate pair
        self.refuses_keys = False  # as if every token had been revoked, the exchange of a personal one included
        self.page: str | None = None  # what a failure sends in place of JSON
        self._port = 0
        self._unique_ids: set[str] = set()  # of annotations
        self._answering = threading.Lock()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each answer waits 40 ms for the client's delayed ACK

            def handle_one_request(self) -> None:
                self.do_GET = self.do_POST = self.do_PATCH = self.do_DELETE = lambda: double._answer(self)
                super().handle_one_request()

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string(double.clock() if timestamp is None else timestamp)

            def log_message(self, *_: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *arguments: Any) -> None:
                if not isinstance(sys.exception(), ConnectionError):  # else the client has ended
                    super().handle_error(*arguments)

        self._listen: Callable[[int], ThreadingHTTPServer] = lambda port: Server(("127.0.0.1", port), Handler)
        self.go_up()
        self._port = self._server.server_port
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_down:
            self.go_down()

    def go_down(self) -> None:
        """As a process that ends: nobody listens, and what is asked over connections that are open is dropped."""
        self._is_down = True
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def go_up(self) -> None:
        """Listens again, at the same address."""
        self._server = self._listen(self._port)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._is_down = False
        self._thread.start()

    def personal_access_token(self, *, seconds: float = 3600) -> str:
        return jwt.encode({"token_type": "refresh", "exp": time.time() + seconds}, _SECRET, "HS256")

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        if len(raw := handler.rfile.read(length)) < length:  # whoever sent it was killed
            handler.close_connection = True
            return
        address = urlsplit(handler.path)
        request, sent = f"{handler.command} {address.path}", json.loads(raw) if raw else None
        self.on_arrival(request)
        with self._answering:
            self.requests.append(request)
            self.bodies.append(sent)
            self.on_request(request)
            failure = self.failures.pop(0) if self.failures else None
            if failure == 0 or self._is_down:
                handler.close_connection = True
                return
            try:
                if failure is not None and failure != CUT:
                    raise Refusal(failure, "Service unavailable")
                self._authorize(address.path, handler.headers.get("Authorization", ""))
                if self.is_on_postgresql and not _is_storable(sent):
                    raise Refusal(500, POSTGRESQL_SAYS)
                query = {key: values[-1] for key, values in parse_qs(address.query).items()}
                status, body = self._route(handler.command, address.path, query, sent)
            except Refusal as refusal:
                status, body = refusal.status, refusal.body
            answer = b"" if body is None else json.dumps(body).encode()
            if failure is not None and self.page is not None:
                answer = self.page.encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(answer)))
        if failure is not None and self.retry_after is not None:
            handler.send_header("Retry-After", self.retry_after)
        handler.end_headers()
        if failure == CUT:
            answer, handler.close_connection = answer[: len(answer) // 2], True
        handler.wfile.write(answer)

    def _check_is_new(self, annotation: Fields) -> None:
        if (unique_id := annotation.get("unique_id")) in self._unique_ids:
            raise Refusal(409, "Annotation with this unique id already exists")
        if unique_id is not None:
            self._unique_ids.add(unique_id)

    def _authorize(self, path: str, given: str) -> None:
        if self.refuses_keys:
            raise Refusal(401, "Invalid token.")
        if path in ("/api/token/refresh/", "/api/version") or given == f"Token {KEY}":
            return
        try:
            jwt.decode(given.removeprefix("Bearer "), _SECRET, ["HS256"])
        except jwt.InvalidTokenError:
            raise Refusal(401, "Invalid token.") from None

    def _route(self, method: str, path: str, query: Fields, body: Any) -> tuple[int, Any]:
        """The answer to one request; the routes are those that studio.py uses, no other."""
        name, ids = re.sub(r"/\d+(?=/|$)", "/N", path), [int(number) for number in re.findall(r"/(\d+)(?=/|$)", path)]
        number = ids[0] if ids else 0
        match method, name:
            case "POST", "/api/token/refresh/":
                self._authorize("", f"Bearer {body['refresh']}")
                return 200, {"access": jwt.encode({"exp": time.time() + 300}, _SECRET, "HS256")}
            case "GET", "/api/version":
                return 200, {"release": "1.23.2", "edition": "Community"}
            case "GET", "/api/current-user/whoami":
                return 200, {"id": 1, "username": "admin", "email": "admin@example.com"}
            case "GET", "/api/users/":
                return 200, [{"id": number, "email": email, "username": email} for number, email in self.members.items()]
            case "GET", "/api/projects/":
                part = query.get("title", "").lower()
                projects = [project for project in self.projects.values() if part in project["title"].lower()]
                return 200, {"count": len(projects), "next": None, "previous": None, "results": projects}
            case "POST", "/api/projects/":
                if body["label_config"].lstrip().startswith("<?xml"):
                    raise Refusal(500, "Unicode strings with encoding declaration are not supported. ...")
                return 201, self.projects[self.add_project(body["label_config"], title=body["title"])]
            case "GET", "/api/projects/N/":
                return 200, {**record_of(self.projects, number, "Project"), **self._numbers(number)}
            case "PATCH", "/api/projects/N/":
                return 200, self._update_project(record_of(self.projects, number, "Project"), body)
            case "DELETE", "/api/projects/N/":
                self.remove_project(record_of(self.projects, number, "Project")["id"])
                return 204, None
            case "POST", "/api/projects/N/import":
                return 201, self._import_tasks(record_of(self.projects, number, "Project"), body)
            case "GET", "/api/projects/N/model-versions/":
                return 200, Counter(made["model_version"] for task in self._tasks_of(number) for made in task["predictions"])
            case "DELETE", "/api/projects/N/model-versions/":
                for held in self._tasks_of(number):
                    held["predictions"] = [p for p in held["predictions"] if p["model_version"] != body["model_version"]]
                return 200, {}
            case "POST", "/api/projects/N/import/predictions":
                return 201, self._import_predictions(record_of(self.projects, number, "Project"), body)
            case "GET", "/api/tasks/":
                return 200, self._list_tasks(query)
            case "PATCH", "/api/tasks/N/":
                # `data` and `meta` are replaced whole
                return 200, changed(record_of(self.tasks, number, "Task"), {**body, "updated_at": self._now()})
            case "DELETE", "/api/tasks/N/":
                del self.tasks[record_of(self.tasks, number, "Task")["id"]]
                return 204, None
            case "DELETE", "/api/predictions/N/":
                task = next((t for t in self.tasks.values() if any(p["id"] == number for p in t["predictions"])), None)
                if task is None:
                    raise Refusal(404, "No Prediction matches the given query.")
                task["predictions"] = [p for p in task["predictions"] if p["id"] != number]
                return 204, None
            case "POST", "/api/tasks/N/annotations/":
                record_of(self.tasks, number, "Task")
                self._check_is_new(body)
                return 201, self.annotate(number, body["result"], is_skip=body.get("was_cancelled", False))
            case "GET", "/api/ml/":
                record_of(self.projects, int(query["project"]), "Project")
                return 200, [self._look_at(row) for row in self.rows.values() if row["project"] == int(query["project"])]
            case "POST", "/api/ml/":
                return 201, self._connect(body)
            case "PATCH", "/api/ml/N":
                row = record_of(self.rows, number, "MLBackend")
                self._check_backend({**row, **body})
                self._follow(row, body["title"])
                return 200, self._look_at(changed(row, {"title": body["title"], "url": body["url"], **auth_in(body)}))
            case "DELETE", "/api/ml/N":
                self._follow(record_of(self.rows, number, "MLBackend"), "")
                del self.rows[number]
                return 204, None  # the webhook stays
            case "GET", "/api/dm/views/":
                return 200, [tab for tab in self.tabs.values() if tab["project"] == int(query["project"])]
            case "POST", "/api/dm/views/":
                return 201, self.tabs[self.add_tab(body["project"], body["data"])]
            case "PATCH", "/api/dm/views/N/":
                return 200, changed(record_of(self.tabs, number, "View"), body)
            case "GET", "/api/webhooks/":
                return 200, [hook for hook in self.hooks.values() if hook["project"] == int(query["project"])]
            case "POST", "/api/webhooks/":
                return 201, self.hooks[self.add_hook(body.pop("project"), **body)]
            case "DELETE", "/api/webhooks/N/":
                del self.hooks[record_of(self.hooks, number, "Webhook")["id"]]
                return 204, None
            case "PATCH", "/api/webhooks/N/":
                return 200, changed(record_of(self.hooks, number, "Webhook"), {"actions": [], **body})
        raise Refusal(400, f"the double knows no {method} {path}")  # no 500, which is asked again and again


def _is_storable(sent: Any) -> bool:
    text = json.dumps(sent, ensure_ascii=False)
    return "\\u0000" not in text and not re.search("[\ud800-\udfff]", text)


def wait_until(is_so: Callable[[], bool], *, seconds: float = 20) -> None:
    """Returns as soon as it is so; fails the test if it is not in time."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


# label-studio-sdk 2.1 reads the exchanged token with pydantic's old method.
EXCHANGES_A_TOKEN = pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated:DeprecationWarning")

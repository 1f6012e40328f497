"""Bodies, paths and headers like Label Studio's and unlike them: 500 in every run, 5,000 with PAIRLOOP_NIGHTLY=1."""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder, run_wsgi_app

from backend.serving.process import Backend
from backend.web.app import create_app
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.settings import Settings
from tests.support.nightly import IS_NIGHTLY
from tests.support.reward_calls import REWARD_CALLS
from tests.support.studio_double import CALLS
from tests.support.studio_records import LABEL_CONFIG
from tests.support.versions import publish_version

NUM_CASES = 5_000 if IS_NIGHTLY else 500
PASSWORD, SECRET, KEY = "a-pässword-of-ours", "a-webhook-secret-of-ours", "a-key-of-ours"
EVENTS = [name for name in CALLS if name not in ("setup", "predict")]

TEXTS = st.text(st.characters(), max_size=30)  # halves of emojis too
NUMBERS = (
    st.integers() | st.integers(min_value=10**18, max_value=10**30) | st.sampled_from([2**63 - 1, 2**63, 0, -1]) | st.floats()
)
ODD_TEXTS = st.sampled_from(
    [
        "",
        "../../etc/passwd",
        "..",
        "/",
        "1/../2",
        "10.1",
        "10.",
        ".",
        "-1",
        "1e9",
        "١٢",
        "\0",
        "9" * 5000,
        "null",
        "{{7*7}}",
        LABEL_CONFIG,
    ]
)
CONFIGS = st.sampled_from(
    [
        LABEL_CONFIG.replace("$prompt", "$answer1"),
        LABEL_CONFIG.replace("Pairwise", "Ranker"),
        LABEL_CONFIG[: len(LABEL_CONFIG) // 2],
        '<!DOCTYPE v [<!ENTITY x SYSTEM "file:///etc/passwd">]><View>&x;</View>',
        "<View>" * 2000,
        "<View>" * 2000 + "</View>" * 2000,
        '<View><Pairwise name="\n\r" toName="é,🙂"/></View>',
    ]
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS | ODD_TEXTS | CONFIGS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=10
)


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value inside a value, itself first."""
    yield here
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*here, key))


def changed(value: Any, place: tuple[Any, ...], new: Any, *, is_dropped: bool) -> Any:
    """The value with another one at a place, or with none there."""
    if not place:
        return new
    value = copy.deepcopy(value)
    outer = value
    for key in place[:-1]:
        outer = outer[key]
    if is_dropped:
        del outer[place[-1]]
    else:
        outer[place[-1]] = new
    return value


@st.composite
def misshaped(draw: st.DrawFn, call: Any) -> Any:
    """A recorded body in which up to three values are replaced or removed, mostly those near its surface."""
    for _ in range(draw(st.integers(0, 3))):
        by_depth = sorted(places(call), key=len)
        place = draw(st.sampled_from(by_depth[:12]) | st.sampled_from(by_depth))
        call = changed(call, place, draw(VALUES), is_dropped=draw(st.booleans()))
        if not isinstance(call, dict | list):
            break
    return call


@st.composite
def encoded(draw: st.DrawFn, value: Any) -> bytes:
    """JSON, mostly; cut, torn, written twice, nested, or in another encoding else."""
    is_ascii = draw(st.booleans())
    text = json.dumps(value, ensure_ascii=is_ascii)
    body = text.encode("utf-8", "surrogatepass")
    match draw(st.sampled_from(["as it is"] * 6 + ["cut", "torn", "twice", "nested", "utf-16", "signed", "keys"])):
        case "cut":
            return body[: draw(st.integers(0, len(body)))]
        case "torn":
            place = draw(st.integers(0, len(body)))
            return body[:place] + draw(st.binary(min_size=1, max_size=8)) + body[place:]
        case "twice":
            return body + body
        case "nested":
            depth = draw(st.sampled_from([50, 70, 300, 1_000, 100_000]))
            return b'{"data": ' * depth + body + b"}" * depth
        case "utf-16":
            return text.encode("utf-16", "surrogatepass")
        case "signed":
            return b"\xef\xbb\xbf" + body
        case "keys":
            return body.replace(b"{", b'{"project": [], "tasks": 1, "action": {}, ', 1) if b'{"' in body else body
        case _:
            return body


@dataclass(frozen=True)
class Sent:
    """One request."""

    method: str
    path: str
    body: bytes
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    environ: dict[str, Any] = field(default_factory=dict)


BODIES = {
    "/setup": [CALLS["setup"]],
    "/predict": [CALLS["predict"]],
    "/webhook": [CALLS[name] for name in EVENTS],
    **REWARD_CALLS,
    "/projects/10@v1/classify": REWARD_CALLS["/projects/10/classify"],
}
PATHS = [
    "/health",
    "/versions",
    "/metrics",
    "/openapi.json",
    "/",
    "/buttons",
    "/nowhere",
    "//setup",
    "/setup/",
    "/static/../x",
    "/projects/../score",
    "/projects/10@v9/pooling",
    "/versions/../x",
]
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Authorization": st.sampled_from(
            ["Basic", "Basic !!!", "Basic /w==", "Basic 7aCA", "Bearer", f"Bearer {SECRET}", "Digest a=b", "Basic " + "A" * 9000]
        )
        | st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=20),
        "Host": st.sampled_from(["localhost:99999", "a b", "[::1]:9090", "é", "x" * 5000, "evil/../../x", "a:b:c"]),
        "Accept": st.sampled_from(["text/html", "*/*", "\xff"]),
        "Content-Encoding": st.just("gzip"),
        "X-Forwarded-For": st.just("'; drop table"),
    },
)
CONTENT_TYPES = ["application/json"] * 50 + [
    "application/json; charset=utf-16", "application/x; charset=nothing", "text/plain", "", "application/problem+json",
    "multipart/form-data; boundary=x", "application/x-www-form-urlencoded",
]  # fmt: skip
LENGTHS = st.sampled_from([{}] * 50 + [{"CONTENT_LENGTH": text} for text in ("", "-1", "x", "0", "3", "9" * 30)])


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    """Any request, mostly to a route that takes a body."""
    path = draw(st.sampled_from([*BODIES] * 15 + PATHS)) if draw(st.integers(0, 19)) else "/" + draw(st.text(max_size=12))
    if path in BODIES:
        call = draw(st.sampled_from(BODIES[path]))
        body = draw(encoded(draw(misshaped(call) | VALUES))) if draw(st.integers(0, 9)) else draw(st.binary(max_size=50))
        method = draw(st.sampled_from(["POST"] * 8 + ["GET", "PUT"]))
    else:
        body = draw(st.sampled_from([b"", b"", b"{}", b"\xff"]))
        method = draw(st.sampled_from(["GET"] * 6 + ["POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "NONSENSE"]))
    query = draw(
        st.sampled_from(["", "project=10", "project=10.5", "project=../../x", "project=%ff", "project=1&project=x", "%"])
    )
    headers = {"Content-Type": draw(st.sampled_from(CONTENT_TYPES)), **draw(HEADERS)}
    environ: dict[str, Any] = draw(LENGTHS)
    if not draw(st.integers(0, 9)):  # chunked: gunicorn says where it ends
        environ = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}
    return Sent(method, path, body, query, headers, environ)


class Target:
    """Two backends over one folder, one open and one that wants a password, with a version of project 10 that is served."""

    def __init__(self, scratch: Path, base: Path) -> None:
        self.model_dir = scratch / "models"
        folder = ProjectFolder(self.model_dir, 10)
        Versions(folder).promote(publish_version(folder, base, weight=1))
        plain: dict[str, Any] = {"model_dir": self.model_dir, "device": "cpu", "generator_engine": "echo", "torch_threads": 1}
        locks: dict[str, Any] = {"basic_auth_user": "ls", "basic_auth_pass": PASSWORD, "webhook_secret": SECRET}
        backends = [Backend(Settings.of(**plain)), Backend(Settings.of(**plain, **locks, label_studio_api_key=SecretStr(KEY)))]
        for backend in backends:
            backend.champions.of(10).refresh()
        self.open, self.locked = (create_app(backend) for backend in backends)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Target:
    return Target(tmp_path_factory.mktemp("target"), tiny_base)


@dataclass(frozen=True)
class Answer:
    """The answer."""

    status: str
    headers: Headers
    body: str

    @property
    def number(self) -> int:
        return int(self.status.split()[0])


def send(app: Flask, sent: Sent) -> Answer:
    builder = EnvironBuilder("/", method=sent.method, input_stream=BytesIO(sent.body), query_string=sent.query)
    environ = builder.get_environ()
    environ["PATH_INFO"] = sent.path.encode("utf-8", "surrogatepass").decode("latin-1")
    environ["CONTENT_LENGTH"] = str(len(sent.body))
    for name, value in sent.headers.items():
        name = name.upper().replace("-", "_")
        environ[name if name == "CONTENT_TYPE" else f"HTTP_{name}"] = value
    pieces, status, headers = run_wsgi_app(app, {**environ, **sent.environ}, buffered=True)
    return Answer(status, headers, b"".join(pieces).decode())


def check(answer: Answer, sent: Sent) -> None:
    """Whether it is JSON that Label Studio can read, and no failure of ours."""
    assert answer.number < 500, answer.body
    kind = answer.headers["Content-Type"]
    if sent.path in ("/", "/buttons") and kind.startswith("text/html"):  # a browser's
        assert (answer.number == 200) == (sent.path == "/") and answer.body.startswith("<!DOCTYPE html>")
    elif sent.path != "/metrics" or not kind.startswith("text/plain"):
        assert kind == "application/json"
        body = json.loads(answer.body, parse_constant=pytest.fail)
        assert isinstance(body, dict)
        if answer.number >= 400:
            assert list(body) == ["error"] and body["error"] and "\n" not in body["error"]
    for secret in (PASSWORD, SECRET, KEY, "Traceback", "root:"):
        assert secret not in answer.body and secret not in str(answer.headers)
    assert answer.status.isascii()


@settings(
    max_examples=NUM_CASES, deadline=None, database=None, derandomize=not IS_NIGHTLY, suppress_health_check=list(HealthCheck)
)
@given(sent=requests())
def test_whatever_is_sent_the_answer_is_json_and_no_failure(target: Target, sent: Sent) -> None:
    check(send(target.open, sent), sent)
    answer = send(target.locked, sent)
    check(answer, sent)
    given_secret = sent.headers.get("Authorization") == f"Bearer {SECRET}" and sent.path == "/webhook"
    assert answer.number == 401 or sent.path == "/health" or given_secret


def test_what_was_sent_made_no_folders_but_those_of_projects(target: Target) -> None:
    names = [path.name for path in (target.model_dir / "projects").iterdir()]

    assert all(name.isdigit() and 1 <= int(name) < 2**63 for name in names)
    assert {path.name for path in target.model_dir.iterdir()} <= {
        "projects",
        "features",
        "base_digests.json",
        "dashboard.key",
        ".dashboard.lock",
    }
    assert [path.name for path in target.model_dir.parent.iterdir()] == ["models"]


def test_the_cases_reach_what_a_good_body_reaches(target: Target) -> None:
    client = target.open.test_client()
    answers = {route: client.post(route, json=CALLS[name]) for route, name in (("/setup", "setup"), ("/predict", "predict"))}

    assert [answer.status_code for answer in answers.values()] == [200, 200]
    assert answers["/predict"].get_json()["results"][0]["score"] >= 0.5
    for route, calls in REWARD_CALLS.items():
        assert [client.post(route, json=call).status_code for call in calls] == [200] * len(calls)

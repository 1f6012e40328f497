"""What nobody may read: prompts, answers, keys and what Label Studio sends along, in answers and in logs above DEBUG.

And what a request or a file may not do: change what is loaded, where calls go, or run code."""

import base64
import copy
import json
import logging
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from backend.contract.request_bodies import EventBody, PredictBody, SetupBody
from backend.generators.scheduler import Scheduler
from backend.monitoring.metrics import Metrics
from backend.scoring.champion import ServedVersion
from backend.serving.process import Backend
from backend.web.app import create_app
from preference.errors import ModelError, StudioError
from preference.generation.jobs import Jobs
from preference.labelling.prompts import Prompt
from preference.logs import log_line
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.redaction import texts_in, trace, unquoted
from preference.reward_model.model import RewardModel
from preference.settings import Settings, variables
from preference.studio.project import LabelStudioProject
from tests.conftest import SettingsFactory
from tests.support.openai_double import OpenAIDouble
from tests.support.studio_double import CALLS, KEY, StudioDouble, wait_until
from tests.support.studio_records import LABEL_CONFIG
from tests.support.versions import publish_version

PROMPT, ANSWER = "Tell nobody of pumpernickel:\n'it' is \"mine\" ü 🙂", "So be it, marzipan, says the answer's text."


PASSWORD, SECRET = "password-of-ours", "webhook-of-ours"


UNSAID = ["pumpernickel", "marzipan", PASSWORD, SECRET, KEY, "sent-host", "sent-token", "sent-password", "sent-extra"]
SENT_ALONG: dict[str, Any] = {
    "hostname": "http://sent-host:1",
    "access_token": "sent-token",
    "extra_params": {"reward_base": "sent-extra", "generator_model": "sent-extra", "trust_remote_code": True},
    "params": {"login": "sent-host", "password": "sent-password", "context": None},
}


DATA = {"prompt": PROMPT, "answer1": ANSWER, "answer2": f"{ANSWER} And more."}
LOGIN = {"Authorization": "Basic " + base64.b64encode(f"ls:{PASSWORD}".encode()).decode()}


class Lines(logging.Handler):
    """The log as a process writes it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(log_line(settings))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        record = copy.copy(record)
        record.exc_text = None  # pytest's own handlers have kept theirs there
        self.lines.append(self.format(record))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture(params=["text", "json"])
def settings(request: pytest.FixtureRequest, settings_for: SettingsFactory) -> Settings:
    locks = {"basic_auth_user": "ls", "basic_auth_pass": PASSWORD, "webhook_secret": SECRET, "label_studio_api_key": KEY}
    return settings_for(generator_engine="echo", log_format=request.param, **locks)


@pytest.fixture
def log(settings: Settings) -> Iterator[Lines]:
    lines = Lines(settings)
    logging.root.addHandler(lines)
    yield lines
    logging.root.removeHandler(lines)


class Failing(RewardModel):
    """A reward model whose error says what it was given."""

    def __init__(self) -> None: ...

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> torch.Tensor:
        try:
            raise KeyError(prompts[0])
        except KeyError as error:
            raise ZeroDivisionError(f"{prompts} {answers}") from error

    def _save_weights(self, folder: Path) -> None: ...


def assert_unsaid(*texts: str) -> None:
    for text in texts:
        assert [word for word in UNSAID if word in text] == []


# Answers and logs


def test_no_route_quotes_what_it_was_sent_whatever_fails(settings: Settings, log: Lines) -> None:
    backend = Backend(settings)
    backend.champions.of(10).serving = ServedVersion(Failing(), "v1-20260101-000000")
    client = create_app(backend).test_client()
    task = {"id": 7, "data": DATA}
    predict = {**CALLS["predict"], **SENT_ALONG, "tasks": [task]}
    bodies: list[tuple[str, Any]] = [
        ("/setup", {**CALLS["setup"], **SENT_ALONG}),
        ("/setup", {**CALLS["setup"], **SENT_ALONG, "schema": f"<View>{PROMPT}"}),
        ("/setup", {**CALLS["setup"], **SENT_ALONG, "project": PROMPT}),
        ("/setup", {**SENT_ALONG, "schema": [PROMPT]}),
        ("/predict", predict),
        ("/predict", {**predict, "tasks": [{"id": PROMPT, "data": DATA}]}),
        ("/predict", {**predict, "tasks": [{"id": 1, "data": PROMPT}]}),
        ("/predict", {**predict, "tasks": PROMPT}),
        ("/predict", {**predict, "project": {PROMPT: ANSWER}}),
        ("/predict", {**predict, "label_config": "<View><!-- -->"}),
        ("/webhook", {**CALLS["TASKS_CREATED"], "tasks": [task]}),
        ("/webhook", {"action": "START_TRAINING", "project": {"id": PROMPT}}),
        ("/webhook", {"action": PROMPT, "project": [PROMPT]}),
    ]

    answers = [client.post(route, json=body, headers=LOGIN) for route, body in bodies]
    answers += [
        client.post(route, data=json.dumps(body)[:-1], content_type="application/json", headers=LOGIN) for route, body in bodies
    ]
    answers += [client.post(route, json=body) for route, body in bodies]
    answers += [
        client.get(route, headers=LOGIN) for route in ("/health", "/metrics", "/versions?project=pumpernickel", "/openapi.json")
    ]
    answers.append(client.get("/?project=pumpernickel&message=marzipan", headers={**LOGIN, "Accept": "text/html"}))

    assert {answer.status_code for answer in answers} == {200, 201, 400, 401, 500}
    for answer in answers:
        assert "Traceback" not in answer.text
        assert_unsaid(answer.text, answer.status, str(answer.headers))
    assert "ZeroDivisionError (LOG_LEVEL=DEBUG" in log.text and "builtins.KeyError" in log.text and "in score" in log.text
    assert_unsaid(log.text)


def test_an_error_of_an_unwritable_folder_holds_no_secret(settings: Settings, log: Lines) -> None:
    settings.model_dir.parent.mkdir(exist_ok=True)
    settings.model_dir.write_text("no folder", encoding="utf-8")
    client = create_app(Backend(settings)).test_client()

    sent = [("/setup", {**CALLS["setup"], **SENT_ALONG}), ("/predict", CALLS["predict"]), ("/webhook", CALLS["START_TRAINING"])]
    answers = [client.post(route, json=body, headers=LOGIN) for route, body in sent]
    routes = ("/health", "/versions", "/metrics", "/")
    answers += [client.get(route, headers={**LOGIN, "Accept": "text/html"}) for route in routes]

    for answer in answers:
        assert answer.is_json or answer.status_code == 200
        assert_unsaid(answer.text, answer.status)
    assert [answer.status_code for answer in answers] == [503, 200, 503, 200, 503, 200, 200]
    assert_unsaid(log.text)


def test_a_label_studio_that_quotes_a_prompt_is_not_quoted(settings_for: SettingsFactory, log: Lines) -> None:
    with StudioDouble() as studio:
        project = LabelStudioProject(
            settings_for(label_studio_url=studio.url, label_studio_api_key=KEY).studio, studio.add_project()
        )
        (task,) = studio.add_tasks(project.id, DATA)
        for quote in (
            str(DATA),
            json.dumps(DATA),
            json.dumps(DATA, ensure_ascii=False),
            PROMPT,
            repr(ANSWER),
            PROMPT[:25],
            ANSWER[:40],
        ):
            for send in (
                lambda: project.store_answers(task, data=DATA, meta={}),
                lambda: project.import_tasks([{"data": DATA}]),
            ):
                studio.failures, studio.page = [400], json.dumps({"detail": f"Wrong at item 0: {quote}"})
                with pytest.raises(StudioError) as refused:
                    send()
                assert str(refused.value).startswith(
                    f"Label Studio refused a request for project {project.id} (400): Wrong at item 0: "
                )
                assert_unsaid(str(refused.value))


def test_a_filler_whose_label_studio_and_server_quote_prompts_does_not(settings: Settings, log: Lines) -> None:
    with StudioDouble() as studio, OpenAIDouble() as server:
        project = studio.add_project()
        refused = {"prompt": PROMPT, "answer1": "", "answer2": ""}
        task, _ = studio.add_tasks(project, refused, {**refused, "prompt": f"{PROMPT} Again."})
        server.refusals = {PROMPT: (400, {"message": f"this prompt is refused: {PROMPT!r}"})}

        def quote(request: str) -> None:
            if request.startswith("PATCH /api/tasks/") and "Again." in str(studio.bodies[-1]):
                studio.failures, studio.page = [400], json.dumps({"detail": f"cannot store {studio.bodies[-1]}"})

        studio.on_request = quote
        backend = Backend(with_doubles(settings, studio, server))
        ProjectFolder(settings.model_dir, project).create()
        backend.start()
        try:
            wait_until(lambda: "tasks without answers" in log.text)
        finally:
            backend.stop()
        health = create_app(backend).test_client().get("/health", headers=LOGIN)
        kept = str(studio.tasks[task]["meta"])

    assert "Label Studio refused" in log.text and "the server refused the prompt (400)" in log.text
    assert "this prompt is refused: " in kept  # by the task, for whoever may read it
    assert_unsaid(log.text, health.text, kept)


def with_doubles(settings: Settings, studio: StudioDouble, server: OpenAIDouble) -> Settings:
    return settings.replace(label_studio_url=studio.url, generator_engine="openai", openai_base_url=server.url)


class Telling:
    """A generator whose error says what it was given."""

    name, capacity = "telling", 4

    def __init__(self) -> None:
        self.sampling: dict[str, Any] = {}

    def run(self, jobs: Jobs) -> None:
        raise ValueError(jobs.take(1)[0].prompt)


def test_an_error_of_a_generator_holds_no_prompt(log: Lines) -> None:
    scheduler = Scheduler(Telling, Metrics())
    thread = threading.Thread(target=scheduler.run)
    thread.start()
    try:
        failed = scheduler.submit(PROMPT, seed=0).exception(timeout=20)
    finally:
        scheduler.stop()
        thread.join()

    assert isinstance(failed, ModelError)
    assert "the generator failed" in log.text and "ValueError (LOG_LEVEL" in log.text
    assert_unsaid(str(failed), log.text)


def test_at_debug_a_traceback_has_its_messages(settings_for: SettingsFactory) -> None:
    lines = Lines(settings_for(log_level="DEBUG"))
    try:
        raise ValueError(PROMPT)
    except ValueError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info()})

    lines.emit(record)

    assert "ValueError: Tell nobody of pumpernickel" in lines.text


def test_a_trace_ends_where_errors_cause_each_other_in_a_circle() -> None:
    first, second = ValueError("pumpernickel"), KeyError("marzipan")
    first.__cause__, second.__cause__ = second, first

    assert trace(first).splitlines() == [
        "Traceback (most recent call last):", "builtins.KeyError", "", "which led to:", "",
        "Traceback (most recent call last):", "builtins.ValueError (LOG_LEVEL=DEBUG shows messages, which may hold prompts)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "text", "expected"),
    [
        ("wrong: a prompt of mine", "a prompt of mine", "wrong: ..."),
        ("wrong: a prompt of mi", "a prompt of mine", "wrong: ..."),  # it quotes a part
        ("wrong:\n a prompt\nof mine", "a prompt\n\nof mine", "wrong: ..."),
        ("wrong: 'so'", "so", "wrong: ..."),
        ('the "answer1" key is expected', "p", 'the "answer1" key is expected'),
        ("not solved", "so", "not solved"),
        ("wrong", "", "wrong"),
    ],
)
def test_a_servers_message_is_cut_at_its_first_quote(message: str, text: str, expected: str) -> None:
    assert unquoted(message, [text]) == expected


def test_texts_are_collected_from_any_depth_and_keys_are_not_texts() -> None:
    assert list(texts_in({"a": ["b", {"c": "d"}], "e": 1, "f": None})) == ["b", "d"]


# What a request may not change


def test_what_label_studio_sends_along_is_not_even_read() -> None:
    fields = {name for body in (SetupBody, PredictBody, EventBody) for name in body.model_fields}

    assert fields == {"project", "label_config", "tasks", "action"}


def test_no_call_goes_to_the_hostname_in_setup_and_extra_params_load_nothing(
    settings_for: SettingsFactory, tiny_base: Path
) -> None:
    with StudioDouble() as studio, socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        there = f"http://127.0.0.1:{trap.getsockname()[1]}"
        settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY, generator_engine="echo")
        project = studio.add_project()
        (task,) = studio.add_tasks(project, {"prompt": PROMPT, "answer1": "", "answer2": ""})
        folder = ProjectFolder(settings.model_dir, project)
        version = publish_version(folder, tiny_base, weight=1)
        Versions(folder).promote(version)
        backend = Backend(settings)
        extra = dict.fromkeys((variable.name.lower() for variable in variables()), there) | {
            "model_dir": "/tmp/x",
            "REWARD_BASE": there,
            "trust_remote_code": True,
        }
        client = create_app(backend).test_client()
        backend.start()
        try:
            setup = client.post(
                "/setup",
                json={
                    "project": f"{project}.1", "schema": LABEL_CONFIG, "hostname": there, "access_token": "x", "extra_params": extra
                },
            )  # fmt: skip
            wait_until(lambda: bool(studio.tasks[task]["data"]["answer1"]))
            wait_until(lambda: backend.champions.of(project).serving is not None)
            body = {"tasks": [{"id": task, "data": DATA}], "project": str(project), "label_config": LABEL_CONFIG}
            plain = client.post("/predict", json=body).get_json()
            odd = client.post(
                "/predict", json={**body, "hostname": there, "params": extra, "extra_params": extra, **extra}
            ).get_json()
        finally:
            backend.stop()
        with pytest.raises(BlockingIOError):
            trap.accept()

    assert setup.get_json() == {"model_version": version}
    assert plain == odd and plain["results"][0]["model_version"] == version
    assert backend.settings == settings
